"""Peak memory: the most bytes of tensors that are alive at once, over the blocks of a network.

Baseline: the largest input and output of any one block.
"""

from __future__ import annotations

from hwnas import ops
from hwnas.cost import OperatorCost
from hwnas.space import SearchSpace

UNIT = "bytes"
LIMITS = {"peak_memory_bytes": 1.0, "peak_memory_kb": 1e3, "peak_memory_mb": 1e6}


def peak_memory(space: SearchSpace, engine: str) -> OperatorCost:
    """A compiled library's arena from below (the search prices it exactly before it scores); elsewhere an estimate."""
    if engine != "tvm":
        return OperatorCost("peak_memory", UNIT, lambda operator: float(ops.peak_bytes(operator)), combine="max")
    from hwnas.export.native.arena import arena_bound

    channels = space.in_channels
    return OperatorCost("peak_memory", UNIT, lambda operator: float(arena_bound(operator, channels)), combine="max")
