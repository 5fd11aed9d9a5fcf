"""upsample: relu, a 1x1 convolution, batch norm, then bilinear to a larger height and width (fp32 or int8): how a map
of few pixels meets one of many. The convolution comes first, where there are fewer of them."""

from __future__ import annotations

from hwnas.blocks.shapes import refuse_signs
from hwnas.errors import HwnasError
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(C, H, W) -> (O, h, w), h >= H and w >= W. `affine` False: batch norm learns no scale and shift."""
    refuse_signs(operator)
    shape, result, precision = operator.input_shape, operator.output_shape, operator.precision
    if len(shape) != 3 or len(result) != 3 or any(a < b for a, b in zip(result[1:], shape[1:], strict=True)):
        raise HwnasError(f"upsample takes (C, H, W) and gives a map at least as large, got {shape} and {result}")
    affine = dict(operator.attributes).get("affine", True)
    small = (result[0], *shape[1:])
    return (
        Layer("relu", "relu", ("input",), shape, shape, precision),
        Layer("conv", "conv", ("relu",), shape, small, precision, attributes=() if affine else (("affine", False),)),
        Layer("resize", "resize", ("conv",), small, result, precision),
    )
