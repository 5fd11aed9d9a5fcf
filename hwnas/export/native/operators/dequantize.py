"""DequantizeLinear: of constants and of activations, which stay codes until some step needs floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import Step
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, Fusion, Kind, refused
from hwnas.export.native.quantisation import quantisation, quantised_constant
from hwnas.export.native.reader import Reader, Tensor, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "DequantizeLinear": (
        Form("tensor", "of an activation: one scale, its own or the QuantizeLinear's", "integer"),
        Form("constant", "of int8, uint8 or int32 constants: one scale or one a channel, equal zero points", "integer"),
        refused("other", "16-bit and 4-bit types, float8, a scale a block"),
    )
}
KINDS = {"dequantize": Kind(exact=True, edge="exit")}
FUSIONS: tuple[Fusion, ...] = ()
EXAMPLES: tuple[Example, ...] = ()  # every quantised example of the others has one before and one after


def read(reader: Reader, node: NodeProto) -> None:
    """Constants keep their integers; activations stay integers until a step needs floats."""
    if node.input[0] in reader.constants:
        reader.quantised_constants[node.output[0]] = quantised_constant(reader, node)
        return
    tensor, value = reader.tensor(node, 0), reader.value(node, 0)
    if tensor.form != "integer":
        raise refuse(node, "its input must be the output of QuantizeLinear", ("QuantizeLinear before it",))
    scale, zero_point, kind = quantisation(reader, node, value.kind)
    value = reader.mean(value, scale, zero_point)
    if (scale, zero_point) != (value.scale, value.zero_point):
        # the same codes mean other numbers from here on
        seen = value.like(f"{node.output[0]}:codes", kind, scale, zero_point)
        reader.emit("lut", node, (value.name,), seen, {"function": "copy"}, {"table": np.arange(256, dtype=np.uint8)})
        value = seen
    if value.layout == "plain" and value.is_image:
        value = reader.image_codes(node, value)
    reader.define(node, node.output[0], Tensor(value.name, "dequantised", tensor.shape))


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """DequantizeLinear to a plain value, the model's own output among them, or to an nhwc one."""
    from hwnas.kernels import dequantize as kernel

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    planar = x.layout == "nhwc" and y.layout == "plain" and y.pixels > 1
    spec = kernel.Dequantize(lowering.image(x.name), lowering.image(y.name), x.zero_point, x.kind == "i8", planar)
    return lowering.call(step, kernel, spec, kernel.pack(spec, lowering.target, float(np.float32(x.scale))))
