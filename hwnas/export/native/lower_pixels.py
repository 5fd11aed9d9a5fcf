"""The kernel of the step that reads raw pixels."""

from __future__ import annotations

from hwnas.export.native.ir import Step
from hwnas.export.native.lower import Binder, KernelCall, Lowering


def preprocess(lowering: Lowering, step: Step) -> KernelCall:
    """Resize and normalise, or normalise alone."""
    from hwnas.kernels import preprocess as kernel

    constants = step.constants
    rows, columns = (
        (constants[f"{axis}_first"], constants[f"{axis}_weights"]) if f"{axis}_first" in constants else None
        for axis in ("rows", "columns")
    )
    taps = None if rows is None or columns is None else (rows[1].shape[1], columns[1].shape[1])
    spec = kernel.Preprocess(lowering.image(step.inputs[0]), lowering.image(step.outputs[0]), taps)
    packed = kernel.pack(spec, lowering.target, constants["mean"], constants["factor"], rows, columns)
    return lowering.call(step, kernel, spec, packed)


BINDERS: dict[str, Binder] = {"preprocess": preprocess}
