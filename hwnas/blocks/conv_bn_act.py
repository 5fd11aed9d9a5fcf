"""conv_bn_act(kernel, stride, activation): a k x k convolution, batch norm and activation (none, relu, hswish)."""

from __future__ import annotations

from hwnas.blocks.shapes import convolution, require_image, require_output, spatial
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(C, H, W) -> (O, ceil(H / stride), ceil(W / stride)). In w1a1 the activation is PReLU."""
    require_image(operator)
    channels = operator.output_shape[0]
    require_output(operator, spatial(operator.input_shape, channels, operator["stride"]))
    return convolution(
        "conv",
        "input",
        operator.input_shape,
        channels,
        operator.precision,
        kernel=operator["kernel"],
        stride=operator["stride"],
        activation=operator["activation"],
    )
