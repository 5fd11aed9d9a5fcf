"""resize: a feature map at another height and width, bilinear (fp32 or int8)."""

from __future__ import annotations

from hwnas.blocks.shapes import refuse_signs
from hwnas.errors import HwnasError
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(C, H, W) -> (C, h, w)."""
    refuse_signs(operator)
    shape, result = operator.input_shape, operator.output_shape
    if len(shape) != 3 or len(result) != 3 or shape[0] != result[0] or min(*shape, *result) < 1:
        raise HwnasError(f"resize takes (C, H, W) and gives (C, h, w), got {shape} and {result}")
    return (Layer("resize", "resize", ("input",), shape, result, operator.precision),)
