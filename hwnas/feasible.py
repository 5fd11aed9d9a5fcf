"""Can all limits be kept at once? An exact answer in most cases, from the same arrays that price a space.

Minimising a weighted sum of the limited costs is one elimination, and by weak duality its minimum proves that no
architecture keeps them all where it lies above the weighted limits. The weights move towards the limits that the
minimiser exceeds (multiplicative weights), so the minimisers also walk towards an architecture that keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwnas.cost import Costing, Factor, eliminate
from hwnas.space import Architecture

ROUNDS = 60  # eliminations at most, some milliseconds each; the excess found stops shrinking well before
RATE = 2.0


@dataclass(frozen=True)
class Nearest:
    """The architecture found whose largest excess over a limit is smallest (a share; at most 0: it keeps them all).

    `proven`: where it does not keep them all, no architecture does.
    """

    architecture: Architecture
    costs: Mapping[str, float]
    excess: float
    proven: bool


def nearest(costings: Mapping[str, Costing], limits: Mapping[str, float]) -> Nearest:
    """The architecture that comes nearest to keeping all `limits` (by cost name, in the costs' units), if not all."""
    names = list(limits)
    space = costings[names[0]].space
    summed = [n for n in names if costings[n].cost.combine == "sum"]
    barriers = [factor for n in names if n not in summed for factor in _barrier(costings[n], limits[n])]
    weights = np.ones(len(summed)) / max(1, len(summed))
    best: Nearest | None = None
    for _ in range(ROUNDS if len(summed) > 1 else 1):
        weighted = [f for n, w in zip(summed, weights, strict=True) for f in _scaled(costings[n], w / limits[n])]
        codes = np.asarray([eliminate(space, [*weighted, *barriers], np.add)], dtype=np.int64)
        costs = {n: float(costings[n].of_codes(codes)[0]) for n in names}
        over = {n: costs[n] / limits[n] - 1.0 for n in names}
        worst = max(over.values())
        # Weak duality: what keeps every limit has a weighted excess of at most 0; the least there is, is this one's.
        least = sum(w * over[n] for n, w in zip(summed, weights, strict=True))
        barred = any(over[n] > 0 for n in names if n not in summed)
        proven = barred or least > 1e-12
        if best is None or worst < best.excess:
            best = Nearest(space.decode(codes)[0], costs, worst, proven)
        if proven or worst <= 0:
            return Nearest(best.architecture, best.costs, best.excess, proven)
        steps = np.exp(RATE * np.clip([over[n] for n in summed], -1.0, 1.0))
        weights = weights * steps / (weights * steps).sum()
    assert best is not None
    return best


def _scaled(costing: Costing, weight: float) -> list[Factor]:
    return [(axes, weight * costing.cost.slope * array) for axes, array in costing.factors]


def _barrier(costing: Costing, limit: float) -> list[Factor]:
    """A maximum stays below its limit where every slot does: an option that does not is infinitely dear."""
    cost = costing.cost
    allowed = math.inf if cost.slope <= 0 else (limit - cost.intercept) / cost.slope
    return [(axes, np.where(array > allowed, np.inf, 0.0)) for axes, array in costing.factors]
