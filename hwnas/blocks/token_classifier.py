"""token_classifier(classes, vocabulary): LayerNorm, the mean over the words, a dense layer: an encoder's head (fp32).

The mean is a product with softmax(padding), which is 1 / words at a word and 0 at padding.
"""

from __future__ import annotations

from hwnas.blocks.shapes import require_output, require_rows, require_tokens
from hwnas.errors import HwnasError
from hwnas.network import FULL_PRECISION, Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(T, D) and int64 (T,) -> (classes,)."""
    rows, classes, length = require_rows(operator), int(operator["classes"]), require_tokens(operator, 1)
    require_output(operator, (classes,))
    if length != rows[0]:
        raise HwnasError(f"token_classifier needs a token a row, got {length} tokens and {rows[0]} rows")
    if operator.precision != FULL_PRECISION:
        raise HwnasError(
            f"token_classifier is {FULL_PRECISION}, got {operator.precision}", hint="put a convert before it"
        )
    share, mean = (1, length), (1, rows[1])
    return (
        Layer("norm", "layer_norm", ("input",), rows, rows),
        Layer(
            "padding", "padding", ("input1",), (length,), share, attributes=(("vocabulary", operator["vocabulary"]),)
        ),
        Layer("shares", "softmax", ("padding",), share, share),
        Layer("mean", "matmul", ("shares", "norm"), share, mean, more_shapes=(rows,)),
        Layer("flat", "reshape", ("mean",), mean, mean[1:]),
        Layer("dense", "dense", ("flat",), mean[1:], (classes,)),
    )
