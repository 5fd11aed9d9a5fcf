"""From operators to rows: a group is loaded and timed together, and the loads of one operator become its row."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from hwnas.measure.backend import Backend
from hwnas.measure.harness import Plan, Runner, Timing, measure_together
from hwnas.network import Operator
from hwnas.samples import of_samples
from hwnas.table import Measurement

GROUP = 12  # rows timed together: enough to spread each row's rounds over about a second
GROUP_SECONDS = 1.5  # no more rows are prepared for a group after this long: a kill loses a couple of seconds
# A block that costs no more than its baseline: two minima agree to 1 % each, so less than this share cannot be told.
LEAST_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Load:
    """One operator, loaded once and timed, with the latencies of its baseline and of the canary beside it."""

    timing: Timing
    overhead_us: float
    canary_us: float
    energy: tuple[float, str] | None


def timed_group(
    left: list[Operator], backend: Backend, plan: Plan | None, clock: AbstractContextManager[None]
) -> dict[Operator, Load | Exception]:
    """Takes operators from the front of `left`, loads them and times them together; a failure is its exception.

    `clock` is held while they are timed (hwnas.card.device_clock).
    """
    runners: dict[Operator, Runner | Exception] = {}
    began = time.monotonic()
    while left and len(runners) < GROUP and (not runners or time.monotonic() - began < GROUP_SECONDS):
        operator = left.pop(0)
        runners[operator] = _prepared(backend, operator)
    with clock:
        return _timed(runners, backend, plan)


def _prepared(backend: Backend, operator: Operator) -> Runner | Exception:
    try:
        return backend.block(operator)
    except (ImportError, MemoryError, OSError):
        raise  # this machine's state, not the block's: a row of it would outlive its cause
    except Exception as problem:  # a failed measurement is data
        return problem


def _timed(
    runners: Mapping[Operator, Runner | Exception], backend: Backend, plan: Plan | None
) -> dict[Operator, Load | Exception]:
    """Blocks, their baselines and the canary in the same interleaved rounds."""
    ready = {operator: runner for operator, runner in runners.items() if not isinstance(runner, Exception)}
    baselines = {operator: backend.baseline(operator) for operator in ready}
    canary = backend.canary()
    beside = {id(runner): runner for runner in (*baselines.values(), canary) if runner is not None}
    timings = measure_together([*ready.values(), *beside.values()], plan)
    known: dict[int, float] = {}
    for key, timing in zip(beside, timings[len(ready) :], strict=True):
        if isinstance(timing, Exception):
            raise timing
        known[key] = timing.latency_us
    found: dict[Operator, Load | Exception] = {o: p for o, p in runners.items() if isinstance(p, Exception)}
    for (operator, runner), timing in zip(ready.items(), timings, strict=False):
        if isinstance(timing, Exception):
            found[operator] = timing
            continue
        energy = backend.energy_uj(runner, timing.latency_us)
        found[operator] = Load(timing, known.get(id(baselines[operator]), 0.0), known.get(id(canary), 0.0), energy)
    return found


def disagreement(loads: Sequence[Load]) -> float:
    """How far the two best loads are apart, as a share; of a single load, its two best rounds."""
    best = sorted(load.timing.latency_us for load in loads)[:2]
    return best[1] / best[0] - 1.0 if len(best) == 2 else loads[0].timing.spread


def row_of(operator: Operator, loads: Sequence[Load], engine_version: str, measured_at: str) -> Measurement:
    """The row of one or more loads: all samples, and the minimum over all of them less the smallest baseline."""
    samples = [sample for load in loads for sample in load.timing.samples_us]
    overhead_us = min(load.overhead_us for load in loads)

    def own(latency_us: float) -> float:
        return max(latency_us - overhead_us, LEAST_SHARE * overhead_us) if overhead_us else latency_us

    energy = loads[-1].energy or (None, "")
    return Measurement(
        operator,
        "ok",
        latency_us=own(of_samples(samples, "min")),
        p50_us=own(of_samples(samples, "p50")),
        p90_us=own(of_samples(samples, "p90")),
        spread=disagreement(loads),
        overhead_us=overhead_us,
        runs=sum(load.timing.runs for load in loads),
        samples_us=tuple(float(f"{sample:.6g}") for sample in samples),
        energy_uj=energy[0],
        energy_source=energy[1],
        engine_version=engine_version,
        measured_at=measured_at,
    )


def failed_row(operator: Operator, problem: Exception, engine_version: str, measured_at: str) -> Measurement:
    """The row of an operator that could not be measured: the exception as one line of at most 300 characters."""
    text = " ".join(str(problem).split()) or "no message"
    reason = f"{type(problem).__name__}: {text}"[:300]
    return Measurement(operator, "failed", reason, engine_version=engine_version, measured_at=measured_at)
