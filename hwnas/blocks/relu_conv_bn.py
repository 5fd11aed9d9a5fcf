"""relu_conv_bn(kernel, stride[, affine]): relu, a k x k convolution, batch norm: the order in which cells sum their
edges, each normalised last (fp32 or int8)."""

from __future__ import annotations

from hwnas.blocks.shapes import refuse_signs, require_image, require_output, spatial
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(C, H, W) -> (O, ceil(H / stride), ceil(W / stride)). `affine` False: batch norm learns no scale and shift."""
    require_image(operator)
    refuse_signs(operator)
    shape, result, precision = operator.input_shape, operator.output_shape, operator.precision
    require_output(operator, spatial(shape, result[0], operator["stride"]))
    affine = dict(operator.attributes).get("affine", True)
    conv = Layer(
        "conv", "conv", ("relu",), shape, result, precision, operator["kernel"], operator["stride"],
        attributes=() if affine else (("affine", False),),
    )  # fmt: skip
    return Layer("relu", "relu", ("input",), shape, shape, precision), conv
