"""Peak memory: the most bytes of tensors that are alive at once, over the blocks of a network.

Baseline: the largest input and output of any one block.
"""

from __future__ import annotations

from hwnas.cost import OperatorCost
from hwnas.engines import engine_class
from hwnas.space import SearchSpace

UNIT = "bytes"
LIMITS = {"peak_memory_bytes": 1.0, "peak_memory_kb": 1e3, "peak_memory_mb": 1e6}


def peak_memory(space: SearchSpace, engine: str) -> OperatorCost:
    """What the engine says of a block: a compiled library's arena from below (the search prices it exactly before it
    scores), or an estimate."""
    channels, least = space.in_channels, engine_class(engine).least_memory
    return OperatorCost("peak_memory", UNIT, lambda operator: least(operator, channels), combine="max")
