"""Samples of a latency and the statistics that are made of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from hwnas.errors import unknown

STATISTICS = ("min", "p50", "p90", "p99")
_SHARES = {"p90": 0.90, "p99": 0.99}


def of_samples(samples_us: Sequence[float], statistic: str) -> float:
    """The minimum, the median, or the smallest sample that at least 90 % (99 %) of the samples do not exceed.

    With fewer than 100 samples p99 is the largest of them: how much that says is what its noise floor tells.
    """
    if statistic == "min":
        return min(samples_us)
    if statistic == "p50":
        return statistics.median(samples_us)
    if statistic not in _SHARES:
        raise unknown("statistic", statistic, STATISTICS)
    ordered = sorted(samples_us)
    # 0.9 * 10 is 9.000000000000002 in floats without the rounding: one sample too far
    return ordered[math.ceil(round(_SHARES[statistic] * len(ordered), 9)) - 1]
