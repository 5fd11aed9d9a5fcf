"""Latency: the sum of the blocks' measured latencies, calibrated on whole networks (docs/measurement.md).

Baseline: cost.macs, as far as it ranks networks; the card of every table prints both.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.card import Calibration
from hwnas.cost import OperatorCost
from hwnas.samples import STATISTICS
from hwnas.table import LatencyTable, latency_cost

UNIT = "us"
# `latency_us` is the minimum; the other statistics are named (`latency_p90_ms`), since each has a noise of its own.
LIMITS = {
    f"latency_{part}{unit}": factor
    for part in ("", *(f"{statistic}_" for statistic in STATISTICS[1:]))
    for unit, factor in (("us", 1.0), ("ms", 1e3))
}


def latency(tables: Sequence[LatencyTable], calibration: Calibration, statistic: str) -> OperatorCost:
    """Microseconds of one inference; HwnasError where a table lacks a row."""
    return latency_cost(tables, calibration, statistic)
