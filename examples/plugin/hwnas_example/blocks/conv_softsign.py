"""conv_softsign(kernel, stride): a k x k convolution, batch norm and softsign."""

from __future__ import annotations

from hwnas.blocks.shapes import convolution, refuse_signs, require_image, require_output, spatial
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(C, H, W) -> (O, ceil(H / stride), ceil(W / stride)), in fp32 or in integers."""
    require_image(operator)
    refuse_signs(operator, hint="softsign has no 1-bit form")
    channels, shape = operator.output_shape[0], operator.output_shape
    require_output(operator, spatial(operator.input_shape, channels, operator["stride"]))
    convolved = convolution(
        "conv",
        "input",
        operator.input_shape,
        channels,
        operator.precision,
        kernel=operator["kernel"],
        stride=operator["stride"],
        activation="none",
    )
    return (*convolved, Layer("softsign", "softsign", (convolved[-1].name,), shape, shape, operator.precision))
