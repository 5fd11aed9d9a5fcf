"""encoder_mlp(hidden, norm): two dense layers with GELU between, residual, LayerNorm before or after (fp32 or int8).

    pre:  x + W2 gelu(W1 LN(x));   post:  LN(x + W2 gelu(W1 x))

In int8 LayerNorm stays float.
"""

from __future__ import annotations

from hwnas.blocks.shapes import layer_norm, norm_first, refuse_signs, require_output, require_rows
from hwnas.errors import HwnasError
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(T, D) -> (T, D), `hidden` numbers a token between."""
    refuse_signs(operator)
    rows, precision, first = require_rows(operator), operator.precision, norm_first(operator)
    require_output(operator, rows)
    if type(operator["hidden"]) is not int or operator["hidden"] < 1:
        raise HwnasError(f"encoder_mlp needs a hidden width of at least 1, got {operator['hidden']!r}")
    wide = (rows[0], operator["hidden"])
    return (
        *(layer_norm("norm", "input", rows, precision) if first else ()),
        Layer("up", "dense", ("norm" if first else "input",), rows, wide, precision),
        Layer("gelu", "gelu", ("up",), wide, wide, precision),
        Layer("down", "dense", ("gelu",), wide, rows, precision),
        Layer("sum", "add", ("input", "down"), rows, rows, precision),
        *(() if first else layer_norm("norm", "sum", rows, precision)),
    )
