"""sum: the sum of two or more tensors of one shape (fp32 or int8), added from left to right: a node of a cell."""

from __future__ import annotations

from hwnas.errors import HwnasError
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """n times the same shape -> that shape."""
    shape = operator.output_shape
    if len(operator.inputs) < 2 or any(port.shape != shape for port in operator.inputs):
        raise HwnasError(f"sum takes two or more tensors of the shape it gives, got {operator}"[:300])
    built: list[Layer] = []
    for i in range(1, len(operator.inputs)):
        before = built[-1].name if built else "input"
        built.append(Layer(f"add{i}", "add", (before, f"input{i}"), shape, shape, operator.precision))
    return tuple(built)
