"""inverted_residual(kernel, stride, expansion, se, activation): MobileNetV2/V3's block (arXiv:1801.04381, 1905.02244).

In w1a1 the two pointwise convolutions are 1-bit; the depthwise convolution and squeeze-and-excite stay fp32 (they hold
few of the multiplications and lose most from one bit), activations are PReLU, and the shortcut is float.
"""

from __future__ import annotations

from hwnas.blocks.shapes import (
    convolution,
    require_image,
    require_output,
    signs,
    spatial,
    squeeze_excite,
    stream_of,
)
from hwnas.errors import HwnasError
from hwnas.network import Layer, Operator, Precision


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(C, H, W) -> (O, ceil(H / stride), ceil(W / stride)); a residual where the two shapes are equal."""
    require_image(operator)
    shape, channels, precision = operator.input_shape, operator.output_shape[0], operator.precision
    kernel, stride, activation = operator["kernel"], operator["stride"], operator["activation"]
    require_output(operator, spatial(shape, channels, stride))
    hidden = round(shape[0] * operator["expansion"])
    if hidden < 1:
        raise HwnasError(f"expansion {operator['expansion']} of {shape[0]} channels leaves none")
    binary, inner = signs(precision), stream_of(precision)
    built: list[Layer] = []
    if hidden != shape[0]:
        built += convolution("expand", "input", shape, hidden, precision, activation=activation)
    source = built[-1].name if built else "input"
    wide = (hidden, *shape[1:])
    built += _depthwise(source, wide, inner, kernel, stride, activation, binary)
    if operator["se"]:
        built += squeeze_excite(built[-1].name, built[-1].out_shape, inner)
    built += convolution("project", built[-1].name, built[-1].out_shape, channels, precision)
    if shape == operator.output_shape:
        built.append(Layer("add", "add", ("input", "project"), shape, shape, inner))
    return tuple(built)


def _depthwise(
    source: str, shape: tuple[int, ...], inner: Precision, kernel: int, stride: int, activation: str, binary: bool
) -> tuple[Layer, ...]:
    act = "none" if binary else activation
    built = convolution(
        "depthwise", source, shape, shape[0], inner, kernel=kernel, stride=stride, groups=shape[0], activation=act
    )
    if not binary:
        return built
    out_shape = built[-1].out_shape
    return *built, Layer("depthwise_act", "prelu", ("depthwise",), out_shape, out_shape)
