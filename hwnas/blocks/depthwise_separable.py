"""depthwise_separable(kernel, stride): MobileNet's block (Howard et al. 2017, arXiv:1704.04861), fp32 or int8.

A depthwise k x k convolution, then a 1x1 convolution, each with batch norm and relu.
"""

from __future__ import annotations

from hwnas.blocks.shapes import convolution, refuse_signs, require_image, require_output, spatial
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(C, H, W) -> (O, ceil(H / stride), ceil(W / stride))."""
    refuse_signs(operator, hint="inverted_residual has a shortcut, which a 1-bit convolution needs")
    require_image(operator)
    shape, channels, precision, stride = (
        operator.input_shape, operator.output_shape[0], operator.precision, operator["stride"],
    )  # fmt: skip
    require_output(operator, spatial(shape, channels, stride))
    depthwise = convolution(
        "depthwise", "input", shape, shape[0], precision,
        kernel=operator["kernel"], stride=stride, groups=shape[0], activation="relu",
    )  # fmt: skip
    pointwise = convolution("pointwise", "depthwise", depthwise[-1].out_shape, channels, precision, activation="relu")
    return *depthwise, *pointwise
