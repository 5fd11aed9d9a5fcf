"""Size: bytes of the constants as shipped, one a weight in INT8, one bit in 1-bit, with scales and biases.

Baseline: the number of parameters times four.
"""

from __future__ import annotations

from hwnas import ops
from hwnas.cost import OperatorCost

UNIT = "bytes"
LIMITS = {"size_bytes": 1.0, "size_kb": 1e3, "size_mb": 1e6}


def size() -> OperatorCost:
    """A lower bound of what a file holds, which the search prices exactly before it scores."""
    return OperatorCost("size", UNIT, lambda operator: float(ops.weight_bytes(operator)))
