"""QuantizeLinear: floats to 8-bit codes, and codes to other codes by a table of 256."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import Step
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, Fusion, Kind, refused
from hwnas.export.native.quantisation import emit_table, identity, quantisation
from hwnas.export.native.reader import Reader, Tensor, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "QuantizeLinear": (
        Form("tensor", "uint8 or int8 by zero point or output_dtype, one constant scale", "integer"),
        refused("other", "16-bit and 4-bit types, float8, scales a channel or a block"),
    )
}
KINDS = {"quantize": Kind(exact=True, thresholds=True, edge="entry"), "lut": Kind(exact=True)}
FUSIONS: tuple[Fusion, ...] = ()
EXAMPLES: tuple[Example, ...] = ()  # every quantised example of the others has one before and one after


def read(reader: Reader, node: NodeProto) -> None:
    """Float activations to integers; integers to other integers by a table."""
    if reader.is_constant(node.input[0]):
        raise refuse(node, "a quantised constant must be stored as integers", ("DequantizeLinear of an initializer",))
    source, tensor = reader.value(node, 0), reader.tensor(node, 0)
    if tensor.form not in ("real", "dequantised"):
        held = "integers" if tensor.form == "integer" else f"{tensor.form} numbers"
        raise refuse(node, f"its input holds {held}, it must hold floats", ("DequantizeLinear before it",))
    scale, zero_point, kind = quantisation(reader, node)
    name, made = node.output[0], source.name
    if tensor.form == "real" or source.codes != (scale, zero_point, kind):
        value = (source.nhwc if source.is_image else source.like)(name, kind, scale, zero_point)
        if tensor.form == "real":
            reader.emit("quantize", node, (source.name,), value)
        else:
            emit_table(reader, node, source, value, identity, "requantise")
        made = value.name
    reader.define(node, name, Tensor(made, "integer", tensor.shape))


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """QuantizeLinear from a plain or an nhwc value to an nhwc one, or any function of one byte."""
    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    if step.kind == "lut":
        from hwnas.kernels import lut256

        table = lut256.Lut256(lowering.image(x.name), lowering.image(y.name))
        codes = lut256.pack(table, lowering.target, step.constants["table"])
        return lowering.call(step, lut256, table, codes, reads_bytes=True)
    from hwnas.kernels import quantize as kernel

    planar = x.layout == "plain" and y.layout == "nhwc" and x.pixels > 1
    spec = kernel.Quantize(lowering.image(x.name), lowering.image(y.name), y.zero_point, y.kind == "i8", planar)
    return lowering.call(step, kernel, spec, kernel.pack(spec, lowering.target, float(np.float32(y.scale))))
