"""From operators to rows: a group is loaded and timed together, and the loads of one operator become its row."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwnas.boards import QUANTITIES, outcomes_of
from hwnas.engines import Artefact
from hwnas.measure.backend import Backend
from hwnas.measure.harness import Plan, Timing
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


def timed_group(left: list[Operator], backend: Backend, plan: Plan | None) -> dict[Operator, Load | Exception]:
    """Takes operators from the front of `left`, builds them and has the board time them together; a failure is its
    exception. The board is leased while they are loaded and timed.
    """
    built: dict[Operator, Artefact | Exception] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        while left and len(built) < GROUP and (not built or time.monotonic() - began < GROUP_SECONDS):
            operator = left.pop(0)
            built[operator] = _built(backend, operator, Path(folder) / str(len(built)))
        return _timed(built, backend, plan, Path(folder))


def _built(backend: Backend, operator: Operator, folder: Path) -> Artefact | Exception:
    folder.mkdir()
    try:
        return backend.engine.block(operator, folder)
    except (ImportError, MemoryError, OSError):
        raise  # this machine's state, not the block's: a row of it would outlive its cause
    except Exception as problem:  # a failed measurement is data
        return problem


def _timed(
    built: Mapping[Operator, Artefact | Exception], backend: Backend, plan: Plan | None, folder: Path
) -> dict[Operator, Load | Exception]:
    """Blocks, their baselines and the canary in the same interleaved rounds."""
    ready = {operator: artefact for operator, artefact in built.items() if not isinstance(artefact, Exception)}
    baselines = {operator: backend.engine.baseline(operator, folder) for operator in ready}
    canary = backend.board.canary
    beside = {one.path: one for one in (*baselines.values(), canary) if one is not None}
    with backend.board.lease():
        outcomes = outcomes_of(backend.board, list(ready.values()), plan, QUANTITIES, list(beside.values()))
    known: dict[Path, float] = {}
    for path, outcome in zip(beside, outcomes[len(ready) :], strict=True):
        if isinstance(outcome, Exception):
            raise outcome
        known[path] = outcome.timing.latency_us

    def latency_us(one: Artefact | None) -> float:
        return 0.0 if one is None else known[one.path]

    found: dict[Operator, Load | Exception] = {o: p for o, p in built.items() if isinstance(p, Exception)}
    for operator, outcome in zip(ready, outcomes, strict=False):
        if isinstance(outcome, Exception):
            found[operator] = outcome
        else:
            overhead_us = latency_us(baselines[operator])
            found[operator] = Load(outcome.timing, overhead_us, latency_us(canary), outcome.energy)
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
