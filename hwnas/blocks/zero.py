"""zero: zeros of the input's shape (fp32 or int8): a node of a cell that nothing reaches."""

from __future__ import annotations

from hwnas.blocks.shapes import require_output
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """Any shape to the same shape."""
    require_output(operator, operator.input_shape)
    return (Layer("zero", "zero", ("input",), operator.input_shape, operator.output_shape, operator.precision),)
