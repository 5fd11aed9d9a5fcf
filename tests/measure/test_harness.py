"""The harness: the minimum, enough samples, more rounds for a noisy runner, and failures as data."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable

import pytest

from hwnas.measure.harness import Plan, Timing, measure, measure_together


class Scripted:
    """Takes what a function of the time spent so far says, in microseconds a run."""

    def __init__(self, cost: Callable[[float], float]) -> None:
        self.cost, self.clock_us, self.calls = cost, 0.0, 0

    def run_us(self, repeats: int) -> float:
        self.calls += 1
        took = self.cost(self.clock_us) * repeats
        self.clock_us += took
        return took


def test_a_steady_runner_settles_in_the_fewest_rounds() -> None:
    timing = measure(Scripted(lambda _: 10.0))
    assert timing.latency_us == timing.p50_us == timing.p90_us == 10.0
    assert timing.spread == 0.0
    assert len(timing.round_minima_us) == Plan().least_rounds


def test_a_sample_is_long_enough_for_the_clock_and_every_run_is_counted() -> None:
    timing = measure(Scripted(lambda _: 0.25), Plan(sample_us=50.0))
    assert timing.runs == 200 * len(timing.samples_us)


def test_a_slow_phase_of_the_machine_is_outlasted_by_more_rounds() -> None:
    steady = measure_together([Scripted(lambda _: 10.0), Scripted(lambda t: 14.0 if t < 2_700 else 10.0)])
    assert isinstance(steady[1], Timing)
    assert steady[1].latency_us == 10.0
    assert max(steady[1].round_minima_us) == 14.0


def test_a_runner_that_never_repeats_itself_ends_and_shows_its_spread() -> None:
    drift = itertools.count()
    timing = measure(Scripted(lambda _: 100.0 * 0.999 ** next(drift)), Plan(round_us=3_000))
    assert len(timing.round_minima_us) == Plan().most_rounds
    assert timing.spread > Plan().agreement


@pytest.mark.parametrize("latency_us", [50.0, 4_000.0, 40_000.0, 190_000.0])
def test_a_network_of_any_usual_length_is_sampled_at_least_20_times(latency_us: float) -> None:
    timing = measure(Scripted(lambda _: latency_us))
    assert len(timing.samples_us) >= 20


def test_a_run_of_seconds_is_sampled_within_a_budget() -> None:
    runner = Scripted(lambda _: 1_500_000.0)
    timing = measure(runner)
    assert timing.latency_us == 1_500_000.0
    assert Plan().least_rounds <= len(timing.samples_us) <= 5
    assert runner.clock_us < 2 * Plan().budget_us


def test_a_long_run_that_never_settles_ends_with_its_budget() -> None:
    drift = itertools.count()
    runner = Scripted(lambda _: 150_000.0 * 0.97 ** next(drift))
    measure(runner)
    assert runner.clock_us < 1.5 * Plan().budget_us


def test_the_90th_percentile_is_a_sample_that_was_taken() -> None:
    timing = Timing(tuple(float(i) for i in range(1, 11)), (1.0, 1.0), 10)
    assert timing.p90_us == 9.0
    assert timing.p50_us == 5.5


class Failing:
    def __init__(self, after: int) -> None:
        self.left = after

    def run_us(self, repeats: int) -> float:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("kernel fault")
        return 10.0 * repeats


@pytest.mark.parametrize("after", [0, 160])
def test_a_runner_that_fails_is_data_and_the_others_go_on(after: int) -> None:
    good, bad = measure_together([Scripted(lambda _: 10.0), Failing(after)])
    assert isinstance(good, Timing)
    assert isinstance(bad, RuntimeError)
    with pytest.raises(RuntimeError, match="kernel fault"):
        measure(Failing(after))


def test_the_garbage_collector_is_as_it_was_afterwards() -> None:
    assert gc.isenabled()
    measure_together([Failing(0)])
    assert gc.isenabled()
