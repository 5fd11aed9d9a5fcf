"""Filling tables: only missing rows are measured, in small groups that are saved as soon as they are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from hwnas.card import card_path, command_line, locked, update_card, versions
from hwnas.device import DeviceProfile
from hwnas.errors import HwnasError
from hwnas.measure.backend import Backend, backend_for
from hwnas.measure.harness import Plan, Runner, Timing, measure_together
from hwnas.network import PRECISIONS, Operator
from hwnas.progress import bar
from hwnas.table import LatencyTable, Measurement, open_table

GROUP = 12  # rows timed together: enough to spread each row's rounds over about a second
GROUP_SECONDS = 1.5  # no more rows are prepared for a group after this long: a kill loses a couple of seconds
# A canary this much above its best, or rounds this far apart, tell that the machine was disturbed: those rows are
# measured again, at most REPEATS times. Rescaling by the canary instead would ruin the ranking (docs/measurement.md).
DRIFT = 0.05
REPEATS = 2
# A block that costs no more than calling it: two minima agree to 1 % each, so less than this share cannot be told.
LEAST_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Report:
    """What one call of `measure_missing` did. `failed` pairs each operator without a latency with its reason."""

    device: str
    engine: str
    measured: int
    reused: int
    failed: tuple[tuple[Operator, str], ...]
    stale: int
    repeated: int
    seconds: float
    tables: tuple[Path, ...]


class Ticker(Protocol):
    """Told after every group how many rows it took."""

    def __call__(self, done: int) -> None: ...


def measure_missing(
    operators: Iterable[Operator],
    engine: str,
    device: DeviceProfile,
    tables_dir: Path,
    threads: int = 1,
    progress: bool = True,
    retry_failed: bool = False,
    plan: Plan | None = None,
) -> Report:
    """Measure the operators that the device's tables lack, each precision into its own table.

    A failure becomes a row with its reason. Rows of an older engine version stay and are counted as `stale`;
    `repeated` counts rows timed again because the machine was disturbed.
    Raises HwnasError when the device or engine cannot be used or a table is malformed or unwritable.
    """
    start = time.monotonic()
    wanted = list(dict.fromkeys(operators))
    if not wanted:
        raise HwnasError("there is no operator to measure")
    tables = [
        open_table(tables_dir, device, engine, p, threads) for p in PRECISIONS if any(o.precision == p for o in wanted)
    ]
    todo = {table.path: table.missing(wanted, retry_failed) for table in tables}
    count = sum(len(missing) for missing in todo.values())
    backend = backend_for(engine, device, threads, tables_dir) if count else None
    repeated = 0
    with _ticker(count, f"measuring on {device.name}, {engine}", progress) as tick:
        for table in tables:
            if backend is not None and todo[table.path]:
                repeated += _fill(table, todo[table.path], backend, plan, tick)
                _note(table, device, backend, tables_dir)
    rows = [table.rows[operator] for table in tables for operator in wanted if operator in table]
    version = backend.version if backend is not None else None
    return Report(
        device.name,
        engine,
        measured=count,
        reused=len(wanted) - count,
        failed=tuple((row.operator, row.reason) for row in rows if not row.ok),
        stale=sum(version is not None and row.engine_version != version for row in rows),
        repeated=repeated,
        seconds=time.monotonic() - start,
        tables=tuple(table.path for table in tables),
    )


def _fill(table: LatencyTable, todo: list[Operator], backend: Backend, plan: Plan | None, tick: Ticker) -> int:
    """Measure `todo` into `table`, then again what the machine disturbed; how many rows that was."""
    timed: dict[Operator, tuple[Measurement, float]] = {}
    left = list(todo)
    while left:
        rows, canary_us = _timed_group(left, table, backend, plan)
        table.add(rows)
        timed |= {row.operator: (row, canary_us) for row in rows}
        tick(len(rows))
    again = 0
    for _ in range(REPEATS):
        left = _disturbed(timed)
        again += len(left)
        while left:
            rows, canary_us = _timed_group(left, table, backend, plan)
            faster = [row for row in rows if _faster(row, timed[row.operator][0])]
            table.add(faster, replace=True)
            kept = {row.operator: (row, canary_us) for row in faster}
            # What was no faster than before has been confirmed: the old row stands, in the light of the new canary.
            timed |= {row.operator: (timed[row.operator][0], canary_us) for row in rows} | kept
    return again


def _disturbed(timed: dict[Operator, tuple[Measurement, float]]) -> list[Operator]:
    """Good rows measured beside a slow canary, or whose own rounds did not agree."""
    best = min(canary_us for _, canary_us in timed.values())
    return [
        operator
        for operator, (row, canary_us) in timed.items()
        if row.spread is not None and (canary_us > best * (1.0 + DRIFT) or row.spread > DRIFT)
    ]


def _faster(new: Measurement, old: Measurement) -> bool:
    return new.latency_us is not None and old.latency_us is not None and new.latency_us < old.latency_us


def _timed_group(
    left: list[Operator], table: LatencyTable, backend: Backend, plan: Plan | None
) -> tuple[list[Measurement], float]:
    """Takes operators from the front of `left` and times them together: their rows, and the canary's latency."""
    runners: dict[Operator, Runner | Exception] = {}
    began = time.monotonic()
    while left and len(runners) < GROUP and (not runners or time.monotonic() - began < GROUP_SECONDS):
        operator = left.pop(0)
        runners[operator] = _prepared(backend, operator)
    # Two processes that fill tables of one device take turns: side by side they would time each other.
    with locked(table.path.with_name("clock")):
        return _timed(runners, backend, plan)


def _prepared(backend: Backend, operator: Operator) -> Runner | Exception:
    try:
        return backend.block(operator)
    except (ImportError, MemoryError, OSError):
        raise  # this machine's state, not the block's: a row of it would outlive its cause
    except Exception as problem:  # a failed measurement is data
        return problem


def _timed(
    runners: dict[Operator, Runner | Exception], backend: Backend, plan: Plan | None
) -> tuple[list[Measurement], float]:
    """A row for every operator of the group, and the canary's latency; baselines are timed in the same rounds."""
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
    overheads = {operator: known.get(id(baseline), 0.0) for operator, baseline in baselines.items()}
    canary_us = known.get(id(canary), 0.0)
    del timings[len(ready) :]
    outcomes: dict[Operator, Timing | Exception] = dict(zip(ready, timings, strict=True))
    outcomes |= {operator: problem for operator, problem in runners.items() if isinstance(problem, Exception)}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    rows = []
    for operator in runners:
        outcome = outcomes[operator]
        if isinstance(outcome, Timing):
            row = measurement(operator, outcome, overheads[operator], backend.version, now)
            energy = backend.energy_uj(ready[operator], outcome.latency_us)
            rows.append(row if energy is None else replace(row, energy_uj=energy[0], energy_source=energy[1]))
        else:
            rows.append(
                Measurement(operator, "failed", reason_of(outcome), engine_version=backend.version, measured_at=now)
            )
    return rows, canary_us


def measurement(
    operator: Operator, timing: Timing, overhead_us: float, engine_version: str, measured_at: str
) -> Measurement:
    """The row of a timing, in which every run includes `overhead_us` of calling."""

    def own(latency_us: float) -> float:
        return max(latency_us - overhead_us, LEAST_SHARE * overhead_us) if overhead_us else latency_us

    return Measurement(
        operator,
        "ok",
        latency_us=own(timing.latency_us),
        p50_us=own(timing.p50_us),
        p90_us=own(timing.p90_us),
        spread=timing.spread,
        overhead_us=overhead_us,
        runs=timing.runs,
        samples_us=tuple(float(f"{sample:.6g}") for sample in timing.samples_us),
        engine_version=engine_version,
        measured_at=measured_at,
    )


def reason_of(problem: Exception) -> str:
    """An exception as one line of at most 300 characters."""
    text = " ".join(str(problem).split()) or "no message"
    return f"{type(problem).__name__}: {text}"[:300]


def _note(table: LatencyTable, device: DeviceProfile, backend: Backend, tables_dir: Path) -> None:
    """How this table was measured, into the card."""
    good = [row for row in table.rows.values() if row.ok]
    spreads = sorted(row.spread for row in good if row.spread is not None)
    entry = {
        "rows": len(good),
        "failed": len(table.rows) - len(good),
        "statistic": "minimum",
        "threads": table.header.threads,
        "engine": backend.version,
        "versions": versions(),
        "command": command_line(),
        "spread_median": statistics.median(spreads) if spreads else None,
        "spread_p90": spreads[int(0.9 * (len(spreads) - 1))] if spreads else None,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    update_card(card_path(tables_dir, device), device, "tables", table.path.stem, entry)


@contextmanager
def _ticker(total: int, title: str, shown: bool) -> Iterator[Ticker]:
    """A progress bar with the time left, fed with how many rows each group took."""
    with bar(title, shown and total > 0) as update:
        ready = 0

        def tick(done: int) -> None:
            nonlocal ready
            ready += done
            update(ready, total, "")

        yield tick
