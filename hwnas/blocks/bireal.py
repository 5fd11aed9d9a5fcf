"""bireal(kernel, stride): one 1-bit convolution with its own float shortcut (Bi-Real net, arXiv:1808.00278).

x -> sign -> conv -> BN -> + shortcut -> PReLU, with ReActNet's per-channel thresholds in the sign (arXiv:2003.03488).
In fp32 and int8 the same structure with an ordinary convolution and relu: the fair twin of the 1-bit block.
Differs: PReLU instead of Bi-Real's bare sum, after ReActNet; an odd input is shortened by a strided 1 x 1 convolution,
because a 2 x 2 average would drop its last row.
"""

from __future__ import annotations

from hwnas.blocks.shapes import convolution, require_image, require_output, signs, spatial, stream_of
from hwnas.errors import HwnasError
from hwnas.network import Layer, Operator, Precision


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(C, H, W) -> (O, ceil(H / stride), ceil(W / stride)), stride 1 or 2."""
    require_image(operator)
    if operator["stride"] not in (1, 2):
        raise HwnasError(f"bireal takes stride 1 or 2, got {operator['stride']}")
    shape, out_shape, precision = operator.input_shape, operator.output_shape, operator.precision
    require_output(operator, spatial(shape, out_shape[0], operator["stride"]))
    binary, stream = signs(precision), stream_of(precision)
    built = list(
        convolution(
            "conv", "input", shape, out_shape[0], precision, kernel=operator["kernel"], stride=operator["stride"]
        )
    )
    shortcut = _shortcut(operator, stream)
    built += shortcut
    source = shortcut[-1].name if shortcut else "input"
    act = "none" if binary else "relu"
    built.append(Layer("add", "add", ("conv", source), out_shape, out_shape, stream, activation=act))
    if binary:
        built.append(Layer("act", "prelu", ("add",), out_shape, out_shape))
    return tuple(built)


def _shortcut(operator: Operator, stream: Precision) -> tuple[Layer, ...]:
    """No layer where the shapes agree; else average 2 x 2 when halving, and a 1 x 1 convolution with BN."""
    shape, channels = operator.input_shape, operator.output_shape[0]
    if operator["stride"] == 1:
        return () if shape[0] == channels else convolution("shortcut", "input", shape, channels, stream)
    if shape[1] % 2 or shape[2] % 2:
        return convolution("shortcut", "input", shape, channels, stream, stride=2)
    halved = (shape[0], shape[1] // 2, shape[2] // 2)
    pool = Layer("shrink", "avg_pool", ("input",), shape, halved, stream, kernel=2, stride=2)
    return pool, *convolution("shortcut", "shrink", halved, channels, stream)
