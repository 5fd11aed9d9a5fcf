"""preprocess: raw uint8 pixels (H, W, C) in, the resized and normalised float32 image (C, h, w) out."""

from __future__ import annotations

from hwnas.errors import HwnasError
from hwnas.network import FULL_PRECISION, Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(H, W, C) -> (C, h, w). Mean and deviation are the data's and decide no cost, so no table row carries them."""
    shape, result = operator.input_shape, operator.output_shape
    if len(shape) != 3 or len(result) != 3 or result[0] != shape[2] or min(*shape, *result) < 1:
        raise HwnasError(f"preprocess takes (H, W, C) and gives (C, h, w), got {shape} -> {result}")
    if operator.precision != FULL_PRECISION:
        raise HwnasError(f"preprocess gives {FULL_PRECISION}, got {operator.precision}", hint="put a convert after it")
    return (Layer("pixels", "preprocess", ("input",), shape, result),)
