"""Which statistic of a latency is meant, over the samples of one load and over several loads."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwnas.samples import STATISTICS, of_samples

if TYPE_CHECKING:
    from hwnas.measure.harness import Timing

__all__ = ["STATISTICS", "of_loads", "of_samples"]


def of_loads(loads: Sequence[Timing], statistic: str) -> float:
    """The median over the loads of each load's statistic, microseconds.

    A file that is loaded once lands where the memory happens to be; the median of the loads is what a user can expect
    of one, where the best of all loads is what only the luckiest gets.
    """
    return statistics.median(load.statistic(statistic) for load in loads)
