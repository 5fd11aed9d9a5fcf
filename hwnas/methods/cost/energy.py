"""Energy: the sum of the blocks' measured energies, where the device has a counter.

Baseline: cost.latency times the device's mean power.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.cost import OperatorCost
from hwnas.table import LatencyTable, energy_cost

UNIT = "uJ"
LIMITS = {"energy_uj": 1.0, "energy_mj": 1e3}


def energy(tables: Sequence[LatencyTable]) -> OperatorCost:
    """Microjoules of one inference; HwnasError where a table has none."""
    return energy_cost(tables)
