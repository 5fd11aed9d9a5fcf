"""An oracle device: every measurement comes out of a table, so that the truth is known that search and grading are for.

oracle = Oracle({operator: 3.5, ...}, accuracy={architecture: 0.91, ...}, noise=0.02)
search(space, sampler, oracle.score, {"latency": Costing(space, oracle.cost())}, {"latency": 20.0})
oracle.fill(open_table(folder, null_device(), "tvm", "int8"), operators)    # rows as the harness measures them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.cost import OperatorCost
from hwnas.errors import HwnasError
from hwnas.measure.harness import Plan, Timing, measure_together
from hwnas.network import Network, Operator
from hwnas.space import Architecture
from hwnas.table import LatencyTable, Measurement

VERSION = "oracle 1"
Latency = Mapping[Operator, float] | Callable[[Operator], float]
Accuracy = Mapping[Architecture, float] | Callable[[Architecture], float]


@dataclass
class NoisyRunner:
    """Takes `latency_us`, and a half-normal share of `noise` longer: no run is faster than the truth."""

    latency_us: float
    noise: float
    rng: np.random.Generator

    def run_us(self, repeats: int) -> float:
        return self.latency_us * repeats * (1.0 + self.noise * abs(self.rng.standard_normal()))


class Oracle:
    """A device and a trained supernet that only look things up.

    `latency_us` of every operator, and `accuracy` (fractions of 1) of every architecture, as tables or as functions;
    `noise` is the relative scatter of single runs, drawn from `seed`. HwnasError where a table lacks what is asked for.
    """

    def __init__(
        self, latency_us: Latency, accuracy: Accuracy | None = None, noise: float = 0.0, seed: int = 0
    ) -> None:
        if not noise >= 0.0:
            raise HwnasError(f"an oracle's noise is a share of at least 0, got {noise}")
        self._latency, self._accuracy = latency_us, accuracy if accuracy is not None else {}
        self.noise, self._rng = noise, np.random.default_rng(seed)

    def latency_us(self, operator: Operator) -> float:
        """The truth about one operator, microseconds."""
        return _asked(self._latency, operator, "latency")

    def network_us(self, network: Network) -> float:
        """The truth about a network: the sum of its operators."""
        return sum(self.latency_us(operator) for operator in network.operators)

    def accuracy(self, architecture: Architecture) -> float:
        """The truth about one architecture, a fraction of 1."""
        return _asked(self._accuracy, architecture, "accuracy")

    def score(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """A Scorer: true accuracies, float64 (n,)."""
        return np.array([self.accuracy(architecture) for architecture in architectures], dtype=np.float64)

    def cost(self) -> OperatorCost:
        """The true latency as a cost, in "us"."""
        return OperatorCost("latency", "us", self.latency_us)

    def measured(self, operators: Iterable[Operator], plan: Plan | None = None) -> dict[Operator, Timing | Exception]:
        """The operators timed by the harness in interleaved rounds, noise included. No clock is read."""
        known: dict[Operator, float] = {}
        failed: dict[Operator, Timing | Exception] = {}
        for operator in dict.fromkeys(operators):
            try:
                known[operator] = self.latency_us(operator)
            except HwnasError as problem:  # a failed measurement is data
                failed[operator] = problem
        runners = [NoisyRunner(latency, self.noise, self._rng) for latency in known.values()]
        return failed | dict(zip(known, measure_together(runners, plan), strict=True))

    def fill(self, table: LatencyTable, operators: Iterable[Operator], plan: Plan | None = None) -> None:
        """Rows of these operators as they were measured, into the table; one the oracle does not know fails."""
        table.add([_row(operator, outcome) for operator, outcome in self.measured(operators, plan).items()])


def _row(operator: Operator, outcome: Timing | Exception) -> Measurement:
    if isinstance(outcome, Exception):
        return Measurement(operator, "failed", f"{type(outcome).__name__}: {outcome}"[:300], engine_version=VERSION)
    return Measurement(
        operator,
        "ok",
        latency_us=outcome.latency_us,
        p50_us=outcome.p50_us,
        p90_us=outcome.p90_us,
        spread=outcome.spread,
        overhead_us=0.0,
        runs=outcome.runs,
        samples_us=tuple(float(f"{sample:.6g}") for sample in outcome.samples_us),
        engine_version=VERSION,
    )


def _asked(table: Mapping[Any, float] | Callable[[Any], float], thing: Any, what: str) -> float:
    if callable(table):
        return float(table(thing))
    if thing not in table:
        raise HwnasError(f"the oracle knows no {what} of {thing}", hint=f"it knows {len(table)}")
    return float(table[thing])
