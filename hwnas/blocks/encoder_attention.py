"""encoder_attention(heads, norm, vocabulary): self-attention among the words of a text, residual, LayerNorm before or
after (fp32 or int8).

    pre:  x + A(LN(x));   post:  LN(x + A(x));   A = W_o [softmax(Q K^T / sqrt(D / heads) + padding) V of every head]

It reads the tokens beside the rows: padding, token 0, gets no share in any softmax. In int8 LayerNorm, the mask and
softmax are float; the dense layers, both products and the sum are integers.
"""

from __future__ import annotations

from hwnas import formats
from hwnas.blocks.shapes import layer_norm, norm_first, refuse_signs, require_output, require_rows, require_tokens
from hwnas.errors import HwnasError
from hwnas.network import Layer, Operator, Precision, Shape


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(T, D) and int64 (T,) -> (T, D)."""
    refuse_signs(operator)
    rows, heads, precision = require_rows(operator), operator["heads"], operator.precision
    length, first = require_tokens(operator, 1), norm_first(operator)
    require_output(operator, rows)
    if type(heads) is not int or heads < 1 or rows[1] % heads or length != rows[0]:
        raise HwnasError(f"encoder_attention needs heads that divide the width and a token a row, got {operator}"[:300])
    source, apart = "norm" if first else "input", (heads, length, rows[1] // heads)
    built = list(layer_norm("norm", "input", rows, precision) if first else ())
    for name in "qkv":
        built.append(Layer(name, "dense", (source,), rows, rows, precision))
        built.append(Layer(f"{name}_heads", "heads", (name,), rows, apart, precision))
    built += _shares(apart, operator["vocabulary"], precision)
    scores = (heads, length, length)
    built += [
        Layer("mixed", "matmul", ("shares", "v_heads"), scores, apart, precision, more_shapes=(apart,)),
        Layer("merged", "heads", ("mixed",), apart, rows, precision),
        Layer("out", "dense", ("merged",), rows, rows, precision),
        Layer("sum", "add", ("input", "out"), rows, rows, precision),
        *(() if first else layer_norm("norm", "sum", rows, precision)),
    ]
    return tuple(built)


def _shares(apart: Shape, vocabulary: int, precision: Precision) -> list[Layer]:
    """Q K^T, the mask and softmax of it, in the precision's code."""
    heads, length, width = apart
    scores, mask = (heads, length, length), (1, 1, length)
    tokens, scale = (("vocabulary", vocabulary),), (("scale", width**-0.5),)
    product = Layer(
        "scores", "matmul", ("q_heads", "k_heads"), apart, scores, precision, attributes=(("transpose", True),)
    )
    padding = Layer("padding", "padding", ("input1",), (length,), mask, attributes=tokens)
    if formats.of(precision).arithmetic != "integer":
        masked = Layer("masked", "add", ("scores", "padding"), scores, scores, more_shapes=(mask,))
        return [product, padding, masked, Layer("shares", "softmax", ("masked",), scores, scores, attributes=scale)]
    return [
        product,
        padding,
        Layer("real_scores", "dequantize", ("scores",), scores, scores),
        Layer("masked", "add", ("real_scores", "padding"), scores, scores, more_shapes=(mask,)),
        Layer("real_shares", "softmax", ("masked",), scores, scores, attributes=scale),
        Layer("shares", "quantize", ("real_shares",), scores, scores, precision),
    ]
