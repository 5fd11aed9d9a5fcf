"""dense_rows: a fully connected layer on every token, between encoder layers of two widths (fp32 or int8)."""

from __future__ import annotations

from hwnas.blocks.shapes import refuse_signs, require_output, require_rows
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(T, D) -> (T, E)."""
    refuse_signs(operator)
    length, _ = require_rows(operator)
    require_output(operator, (length, operator.output_shape[-1]))
    return (Layer("dense", "dense", ("input",), operator.input_shape, operator.output_shape, operator.precision),)
