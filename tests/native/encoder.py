"""A transformer encoder block and a front end for sound, made of layer kinds: what the nets of the tests are built of.

The module is a block of its own (`layers`), as a package outside adds one.
"""

from __future__ import annotations

from hwnas.network import Layer, Operator

HEADS, WIDER = 3, 2


def layers(operator: Operator) -> tuple[Layer, ...]:
    """Post-norm: attention, sum, norm, two dense layers with GELU between, sum, norm. Norms are float layers."""
    length, width = operator.input_shape
    precision, each = operator.precision, width // HEADS
    rows, apart, scores = (length, width), (HEADS, length, each), (HEADS, length, length)

    def layer(
        name: str, kind: str, inputs: str, given: tuple[int, ...], made: tuple[int, ...], **more: object
    ) -> Layer:
        return Layer(name, kind, tuple(inputs.split()), given, made, precision, **more)  # type: ignore[arg-type]

    found = []
    for name in "qkv":
        found += [layer(name, "dense", "input", rows, rows), layer(f"{name}_heads", "heads", name, rows, apart)]
    scale, wide = (("scale", each**-0.5),), (length, WIDER * width)
    found += [
        layer("scores", "matmul", "q_heads k_heads", apart, scores, attributes=(("transpose", True),)),
        layer("shares", "softmax", "scores", scores, scores, attributes=scale),
        layer("mixed", "matmul", "shares v_heads", scores, apart, more_shapes=(apart,)),
        layer("merged", "heads", "mixed", apart, rows),
        layer("out", "dense", "merged", rows, rows),
        layer("sum", "add", "input out", rows, rows),
        *_norm("norm", "sum", rows, precision),
        layer("up", "dense", "norm", rows, wide),
        layer("bend", "gelu", "up", wide, wide),
        layer("down", "dense", "bend", wide, rows),
        layer("sum2", "add", "norm down", rows, rows),
        *_norm("norm2", "sum2", rows, precision),
    ]
    return tuple(found)


def _norm(name: str, source: str, shape: tuple[int, ...], precision: str) -> tuple[Layer, ...]:
    if precision == "fp32":
        return (Layer(name, "layer_norm", (source,), shape, shape),)
    return (
        Layer(f"{name}_in", "dequantize", (source,), shape, shape),
        Layer(f"{name}_real", "layer_norm", (f"{name}_in",), shape, shape),
        Layer(name, "quantize", (f"{name}_real",), shape, shape, precision),
    )
