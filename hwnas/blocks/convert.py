"""convert: between float32 and uint8 tensors; the precision is the one it converts TO (fp32 or int8)."""

from __future__ import annotations

from hwnas.blocks.shapes import require_output
from hwnas.errors import HwnasError
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """Any shape, (C, H, W) or (classes,), to the same shape."""
    if operator.precision == "w1a1":
        raise HwnasError("convert gives fp32 or int8", hint="w1a1 blocks read and write fp32 tensors: convert to fp32")
    require_output(operator, operator.input_shape)
    kind = "quantize" if operator.precision == "int8" else "dequantize"
    return (Layer("convert", kind, ("input",), operator.input_shape, operator.output_shape, operator.precision),)
