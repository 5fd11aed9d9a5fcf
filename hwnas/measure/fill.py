"""Filling tables: only missing rows are measured, in small groups that are saved as soon as they are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from hwnas import formats
from hwnas.card import card_path, command_line, update_card, versions
from hwnas.device import DeviceProfile
from hwnas.errors import HwnasError
from hwnas.measure.backend import Backend, backend_for, engine_version
from hwnas.measure.harness import Plan
from hwnas.measure.rows import Load, disagreement, failed_row, row_of, timed_group
from hwnas.network import Operator
from hwnas.progress import bar
from hwnas.table import LatencyTable, open_table

# Where an engine's memory happens to lie can slow a block by 30 % for as long as it stays loaded, though its rounds
# agree to 1 %. So each operator is loaded and timed afresh, twice at least, until its two best loads agree.
LEAST_LOADS = 2
MOST_LOADS = 5
AGREEMENT = 0.03
# A canary this much above its best tells that the machine was in a slow phase. Those rows are timed again; rescaling
# them by the canary instead would ruin the ranking (docs/measurement.md).
DRIFT = 0.05


@dataclass(frozen=True, slots=True)
class Renewal:
    """Which rows are measured although they are there: of another version of the engine, failed ones, or every one.

    What a new row replaces is kept in `earlier/` beside the table.
    """

    stale: bool = True
    failed: bool = False
    every: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What one call of `measure_missing` did. `failed` pairs each operator without a latency with its reason.

    `stale` counts rows that another version of the engine measured and that were left as they are, `renewed` those
    that were there and were measured again, `repeated` those loaded more often than planned as the machine was
    disturbed.
    """

    device: str
    engine: str
    measured: int
    reused: int
    failed: tuple[tuple[Operator, str], ...]
    stale: int
    renewed: int
    repeated: int
    seconds: float
    tables: tuple[Path, ...]

    def __str__(self) -> str:
        """What a person is told of it."""
        said = f"{self.engine}: {self.measured} rows measured, {self.reused} reused, {len(self.failed)} failed"
        if self.renewed:
            said += f"; {self.renewed} of them replaced older rows, kept in {self.tables[0].parent / 'earlier'}"
        if self.stale:
            said += f"; {self.stale} rows are of another version of the engine and were kept as asked"
        if self.failed:
            operator, reason = self.failed[0]
            said += f"; no architecture with a failed block is picked, the first is {operator}: {reason}"
        return said


class Ticker(Protocol):
    """Told after every group how many more rows were loaded and timed."""

    def __call__(self, done: int) -> None: ...


def measure_missing(
    operators: Iterable[Operator],
    engine: str,
    device: DeviceProfile,
    tables_dir: Path,
    threads: int = 1,
    progress: bool = True,
    renewal: Renewal | None = None,
    plan: Plan | None = None,
) -> Report:
    """Measure the operators that the device's tables lack, each precision into its own table.

    A failure becomes a row with its reason. Rows of another version of the engine count as missing unless `renewal`
    says otherwise. Where nothing is missing, no engine is needed.
    Raises HwnasError when the device or engine cannot be used or a table is malformed or unwritable.
    """
    start, renewal = time.monotonic(), renewal or Renewal()
    wanted = list(dict.fromkeys(operators))
    if not wanted:
        raise HwnasError("there is no operator to measure")
    version = engine_version(engine, device)
    tables = [open_table(tables_dir, device, engine, p, threads) for p in formats.ordered(o.precision for o in wanted)]
    todo = {table.path: rows_to_measure(table, wanted, renewal, version) for table in tables}
    count, renewed = sum(map(len, todo.values())), sum(o in table for table in tables for o in todo[table.path])
    backend = backend_for(engine, device, threads, tables_dir) if count else None
    repeated = 0
    with _ticker(LEAST_LOADS * count, f"measuring on {device.name}, {engine}", progress) as tick:
        for table in tables:
            if backend is not None and todo[table.path]:
                repeated += _fill(table, todo[table.path], backend, plan, tick)
                _note(table, device, backend, tables_dir)
    rows = [table.rows[operator] for table in tables for operator in wanted if operator in table]
    return Report(
        device.name,
        engine,
        measured=count,
        reused=len(wanted) - count,
        failed=tuple((row.operator, row.reason) for row in rows if not row.ok),
        stale=sum(version is not None and row.engine_version != version for row in rows),
        renewed=renewed,
        repeated=repeated,
        seconds=time.monotonic() - start,
        tables=tuple(table.path for table in tables),
    )


def rows_to_measure(
    table: LatencyTable, wanted: Sequence[Operator], renewal: Renewal, version: str | None
) -> list[Operator]:
    """The operators of this table that have no row, and those that `renewal` asks for again. `version` is that of the
    engine at hand, None where there is none: then no row counts as stale."""
    chosen = set(table.missing(wanted, renewal.failed))
    if renewal.every:
        chosen |= {operator for operator in wanted if operator in table}
    elif renewal.stale and version is not None:
        chosen |= set(table.stale(wanted, version))
    return [operator for operator in wanted if operator in chosen]


def _fill(table: LatencyTable, todo: list[Operator], backend: Backend, plan: Plan | None, tick: Ticker) -> int:
    """Measure `todo` into `table`; how many rows were timed more often than planned because loads disagreed.

    The first pass saves rows as it goes, so that a kill loses little; later passes load everything afresh and rewrite.
    """
    loads: dict[Operator, list[Load]] = {}
    old = {operator for operator in todo if operator in table}
    again = 0
    for number in range(MOST_LOADS):
        left = list(todo) if number == 0 else list(loads) if number < LEAST_LOADS else _disturbed(loads)
        again += len(left) if number >= LEAST_LOADS else 0
        while left:
            group = timed_group(left, backend, plan)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            rows = []
            for operator, outcome in group.items():
                if isinstance(outcome, Load):
                    loads.setdefault(operator, []).append(outcome)
                    rows.append(row_of(operator, loads[operator], backend.version, now))
                elif number == 0:
                    rows.append(failed_row(operator, outcome, backend.version, now))
            if number == 0:
                table.add([row for row in rows if row.operator in old], replace=True, set_aside=True)
                rows = [row for row in rows if row.operator not in old]
            table.add(rows, replace=number > 0)
            tick(len(group) if number < LEAST_LOADS else 0)
    return again


def _disturbed(loads: dict[Operator, list[Load]]) -> list[Operator]:
    """Operators whose loads disagree, or were all timed beside a slow canary."""
    canaries = {operator: min(load.canary_us for load in of) for operator, of in loads.items()}
    slow = min(canaries.values(), default=0.0) * (1.0 + DRIFT)
    return [o for o, of in loads.items() if disagreement(of) > AGREEMENT or canaries[o] > slow]


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
