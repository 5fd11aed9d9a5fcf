"""convert: between float32 and uint8 tensors; the precision is the one it converts TO."""

from __future__ import annotations

from hwnas import formats
from hwnas.blocks.shapes import refuse_signs, require_output
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """Any shape, (C, H, W) or (classes,), to the same shape."""
    refuse_signs(operator, hint="1-bit blocks read and write float32 tensors: convert to fp32")
    require_output(operator, operator.input_shape)
    kind = "quantize" if formats.of(operator.precision).arithmetic == "integer" else "dequantize"
    return (Layer("convert", kind, ("input",), operator.input_shape, operator.output_shape, operator.precision),)
