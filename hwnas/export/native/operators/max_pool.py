"""MaxPool: the largest of a window, float32 and 8-bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.export.native.ir import Step, Value
from hwnas.export.native.layout import window_of
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, Kind
from hwnas.export.native.reader import Reader
from hwnas.export.native.windows import FORMS, pool_as_integers, read_pool

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {"MaxPool": (*FORMS, Form("same", "one scale before and after", "integer"))}
KINDS = {"max_pool_f32": Kind(exact=True), "max_pool_int": Kind(exact=True)}
EXAMPLES = (Example("MaxPool", ((1, "C", "H", "W"),), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),)


def read(reader: Reader, node: NodeProto) -> None:
    """The largest float."""
    read_pool(reader, node, "max_pool_f32")


def _refusal(source: Value, result: Value) -> str | None:
    """The largest code is it where codes mean the same before and after."""
    return "its input and its result have other scales" if source.codes != result.codes else None


FUSIONS = (pool_as_integers("max_pool_int", _refusal),)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """One kernel for every element type."""
    from hwnas.export.native.ir import ELEMENT_TYPES
    from hwnas.kernels import max_pool as kernel

    x, y = step.inputs[0], step.outputs[0]
    dtype = ELEMENT_TYPES[lowering.value(x).kind]
    spec = kernel.MaxPool(lowering.image(x), lowering.image(y), window_of(step), dtype)
    return lowering.call(step, kernel, spec, ())
