"""The harness: warm-up, batches above the clock's grain, interleaved rounds until the minimum is confirmed.

On a shared machine the minimum is the statistic that predicts (docs/measurement.md), and a slow phase of the host lasts
longer than one row takes. So a group of runners is timed in rounds, each runner once a round: the rounds of one runner
lie far apart in time, and its minimum counts as found when its two best rounds agree. A runner whose rounds do not
agree gets more of them: when the machine drifts, run again, do not rescale.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from hwnas.samples import of_samples

MAX_BATCH = 100_000


class Runner(Protocol):
    """Something compiled and loaded, with its inputs in place."""

    def run_us(self, repeats: int) -> float:
        """Run `repeats` times back to back; the clock's microseconds for all of them."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often. A block costs about 0.05 s on an idle machine and at most about 0.5 s.

    Something that runs longer than a round takes as many samples all the same, which costs it `budget_us` at most.
    """

    sample_us: float = 50.0  # 1000 times the grain of perf_counter, short enough to slip between two interrupts
    warmup_us: float = 1_500.0
    round_us: float = 30_000.0  # no round of one runner takes longer, unless a single run does
    patience: int = 20  # a round ends after this many samples without a better minimum
    improvement: float = 0.005
    least_rounds: int = 2
    most_rounds: int = 8
    agreement: float = 0.01  # two best rounds this close: the minimum is found
    least_samples: int = 20  # the fewest a 90th percentile can be told from, two samples lying above it
    budget_us: float = 4_000_000.0  # 20 samples of 0.2 s; a grade times some 120 such loads, so more would take an hour


@dataclass(frozen=True, slots=True)
class Timing:
    """All samples of one runner, microseconds a run, in the order taken; `round_minima` one a round."""

    samples_us: tuple[float, ...]
    round_minima_us: tuple[float, ...]
    runs: int

    def statistic(self, name: str) -> float:
        """The samples' `min`, `p50`, `p90` or `p99`, microseconds."""
        return of_samples(self.samples_us, name)

    @property
    def latency_us(self) -> float:
        """The minimum: the default statistic."""
        return self.statistic("min")

    @property
    def p50_us(self) -> float:
        return self.statistic("p50")

    @property
    def p90_us(self) -> float:
        return self.statistic("p90")

    @property
    def p99_us(self) -> float:
        return self.statistic("p99")

    @property
    def spread(self) -> float:
        """How far the second best round lies above the best one, as a share: the noise of this very timing."""
        best = sorted(self.round_minima_us)[:2]
        return best[-1] / best[0] - 1.0


class _Track:
    """One runner on its way to a Timing."""

    def __init__(self, runner: Runner, plan: Plan) -> None:
        self.runner, self.plan = runner, plan
        self.samples: list[float] = []
        self.minima: list[float] = []
        self.runs = 0
        self.spent_us = 0.0
        self.batch = self._warm_up()

    def _warm_up(self) -> int:
        """Run until caches and lazy set-up are done; the batch that makes one sample long enough to time."""
        spent, fastest = 0.0, math.inf
        while True:
            took = self.runner.run_us(1)
            spent, fastest = spent + max(took, 0.05), min(fastest, took)
            if spent >= self.plan.warmup_us or took >= self.plan.round_us:
                break
        return min(MAX_BATCH, max(1, math.ceil(self.plan.sample_us / max(fastest, 0.01))))

    def round(self) -> None:
        best, since, spent, taken, plan = math.inf, 0, 0.0, 0, self.plan
        quota, share_us = math.ceil(plan.least_samples / plan.least_rounds), plan.budget_us / plan.least_rounds
        while (since < plan.patience and spent < plan.round_us) or (taken < quota and spent < share_us):
            took = self.runner.run_us(self.batch)
            sample = took / self.batch
            self.samples.append(sample)
            self.runs += self.batch
            spent, taken = spent + took, taken + 1
            since = 0 if sample < best * (1.0 - plan.improvement) else since + 1
            best = min(best, sample)
        self.spent_us += spent
        self.minima.append(best)

    @property
    def settled(self) -> bool:
        if len(self.minima) < self.plan.least_rounds:
            return False
        first, second = sorted(self.minima)[:2]
        return second <= first * (1.0 + self.plan.agreement) or self.spent_us >= self.plan.budget_us

    def timing(self) -> Timing:
        return Timing(tuple(self.samples), tuple(self.minima), self.runs)


def measure_together(runners: Sequence[Runner], plan: Plan | None = None) -> list[Timing | Exception]:
    """Time the runners in interleaved rounds. A runner that raises gives its exception; the others go on."""
    plan = plan or Plan()
    with _quiet():
        tracks = [_attempt(runner, plan) for runner in runners]
        for _ in range(plan.most_rounds):
            for i, track in enumerate(tracks):
                if isinstance(track, _Track) and not track.settled:
                    try:
                        track.round()
                    except Exception as problem:  # a failed measurement is data
                        tracks[i] = problem
    return [track.timing() if isinstance(track, _Track) else track for track in tracks]


def measure(runner: Runner, plan: Plan | None = None) -> Timing:
    """Time one runner; what it raises goes through."""
    result = measure_together([runner], plan)[0]
    if isinstance(result, Exception):
        raise result
    return result


def _attempt(runner: Runner, plan: Plan) -> _Track | Exception:
    try:
        return _Track(runner, plan)
    except Exception as problem:  # a failed measurement is data
        return problem


@contextmanager
def _quiet() -> Iterator[None]:
    """No garbage collection between two clock readings, nor before: with TVM loaded one takes 0.2 s."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
