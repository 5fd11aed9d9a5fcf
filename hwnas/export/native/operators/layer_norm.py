"""LayerNormalization over the last axes: float32, or 8-bit codes from exact integer statistics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import Step, plain
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Constant, Example, Form, IntegerFusion, Kind
from hwnas.export.native.quantisation import NOT_QUANTISED, emit_quantised, target_of
from hwnas.export.native.reader import Reader, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "LayerNormalization": (
        Form("axis", "from any axis to the last, constant scale and bias, the first output alone", "integer"),
    )
}
KINDS = {"layer_norm_f32": Kind(), "layer_norm_int": Kind(thresholds=True)}
EXAMPLES = (
    Example("LayerNormalization", ((1, "T", "D"), Constant(("D",)), Constant(("D",)))),
    Example("LayerNormalization", ((1, "C", "H", "W"), Constant(("H", "W"))), {"axis": 2, "epsilon": 1e-3}),
)
#: ONNX Runtime normalises dequantised floats: where a value lies on a rounding edge the codes may differ by one
LARGEST_ROW = (2**31 - 1) // 255**2


def parameters(reader: Reader, node: NodeProto) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """(rows, length and epsilon; gamma and beta, one number an element of a row)."""
    shape = reader.tensor(node, 0).shape
    axis = int(attribute(node, "axis", -1))
    if not -len(shape) <= axis < len(shape):
        raise refuse(node, f"axis={axis} of {len(shape)} dimensions", ("axis=-1",))
    within = shape[axis % len(shape) :]
    found = {}
    for name, index in (("gamma", 1), ("beta", 2)):
        given = reader.optional_constant(node, index)
        if given is None:
            continue
        try:
            found[name] = np.ascontiguousarray(np.broadcast_to(given, within)).reshape(-1)
        except ValueError:
            raise refuse(node, f"its {name} of shape {list(given.shape)}", (str(list(within)),)) from None
    length = math.prod(within)
    epsilon = float(attribute(node, "epsilon", 1e-5))
    return {"rows": math.prod(shape) // length, "length": length, "epsilon": epsilon}, found


def read(reader: Reader, node: NodeProto) -> None:
    """Floats of any rank."""
    attributes, constants = parameters(reader, node)
    source = reader.plain(node, 0)
    value = plain(node.output[0], "f32", source.shape)
    reader.emit("layer_norm_f32", node, (source.name,), value, attributes, constants)
    reader.result(node, value)


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """Codes to codes."""
    attributes, constants = parameters(reader, node)
    length = attributes["length"]
    assert isinstance(length, int)
    if length > LARGEST_ROW:
        return f"a row of {length} codes overflows its sum of squares"
    seen = plain("", "u8", reader.tensor(node, 0).shape)
    target = target_of(reader, node, seen, seen.shape)
    if target is None:
        return NOT_QUANTISED
    source = reader.plain_codes(node, 0)
    emit_quantised(reader, "layer_norm_int", node, (source.name,), target, attributes, constants)
    return None


FUSIONS = (IntegerFusion(as_integers),)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """The kernel over floats or over codes."""
    rows, length, epsilon = step.integer("rows"), step.integer("length"), step.attributes["epsilon"]
    gamma, beta = step.constants["gamma"], step.constants.get("beta")
    assert isinstance(epsilon, float)
    if step.kind == "layer_norm_f32":
        from hwnas.kernels import fp32_layer_norm

        spec = fp32_layer_norm.Fp32LayerNorm(rows, length, epsilon)
        packed = fp32_layer_norm.pack(spec, lowering.target, gamma, beta)
        return lowering.call(step, fp32_layer_norm, spec, packed)
    from hwnas.kernels import int8_layer_norm

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    codes = int8_layer_norm.Int8LayerNorm(rows, length, y.zero_point, x.kind == "i8", y.kind == "i8")
    constants = int8_layer_norm.pack(codes, lowering.target, gamma, beta, epsilon, (x.scale, y.scale))
    return lowering.call(step, int8_layer_norm, codes, constants)
