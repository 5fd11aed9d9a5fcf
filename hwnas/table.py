"""LatencyTable: measured rows keyed by operator, in one CSV file; and the costs read from it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

from hwnas.card import Calibration, locked
from hwnas.cost import OperatorCost
from hwnas.device import DeviceProfile
from hwnas.errors import HwnasError
from hwnas.network import Operator, describe
from hwnas.paths import read_text, write_text
from hwnas.table_format import Measurement, TableHeader, parse_table, table_text

__all__ = ["LatencyTable", "Measurement", "TableHeader", "energy_cost", "latency_cost", "open_table", "table_path"]

SIZE_LIMIT = 1 << 30  # 100,000 rows with all their samples


def table_path(tables_dir: Path, device: DeviceProfile, engine: str, precision: str) -> Path:
    """`<tables>/<device>/<engine>-<precision>.csv`."""
    return Path(tables_dir) / device.folder / f"{engine}-{precision}.csv"


def earlier_path(path: Path, engine_version: str, number: int = 1) -> Path:
    """Where rows go that are measured again: `earlier/<table>.<engine version>[.<number>].csv` beside the table."""
    version = re.sub(r"[^A-Za-z0-9.]+", "-", engine_version).strip("-.")[:80] or "unknown"
    return path.parent / "earlier" / f"{path.stem}.{version}{f'.{number}' if number > 1 else ''}.csv"


class LatencyTable:
    """The rows of one file. Rows are added by other processes too, so adding reads the file again under a lock."""

    def __init__(self, path: Path, header: TableHeader | None = None) -> None:
        """Read `path`. Where there is no file, `header` starts an empty table; without one that is an HwnasError."""
        self.path = Path(path)
        self.rows: dict[Operator, Measurement] = {}
        stored = self._read()
        if stored is None and header is None:
            raise HwnasError(f"there is no latency table {self.path}", hint="hwnas measure writes it")
        if stored is not None and header is not None and stored != header:
            raise _other_table(self.path, stored, header)
        chosen = stored or header
        assert chosen is not None
        self.header = chosen

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, operator: Operator) -> bool:
        return operator in self.rows

    def missing(self, operators: Iterable[Operator], retry_failed: bool = False) -> list[Operator]:
        """Those of this table's precision that have no row, each once; with `retry_failed` also the failed ones."""
        wanted = dict.fromkeys(operator for operator in operators if operator.precision == self.header.precision)
        return [o for o in wanted if o not in self.rows or (retry_failed and not self.rows[o].ok)]

    def stale(self, operators: Iterable[Operator], engine_version: str) -> list[Operator]:
        """Those whose row was measured by another version of the engine, each once."""
        wanted = dict.fromkeys(operator for operator in operators if operator in self.rows)
        return [o for o in wanted if self.rows[o].engine_version != engine_version]

    def add(self, measurements: Iterable[Measurement], replace: bool = False, set_aside: bool = False) -> None:
        """Save rows: the file is read again and rewritten whole under a lock, so two processes lose nothing.

        A good row that is already there stays, so that costs do not change under a search that reads them; a failed
        one gives way. `replace` makes the new row win; `set_aside` keeps what it replaces in `earlier/` beside the
        table. Raises HwnasError, with the file as it was, when it cannot be written.
        """
        new = list(measurements)
        for row in new:
            if row.operator.precision != self.header.precision:
                raise HwnasError(f"{self.path} holds {self.header.precision} rows, got {row.operator}")
        with locked(self.path):
            stored = self._read()
            if stored is not None and stored != self.header:
                raise _other_table(self.path, stored, self.header)
            if replace and set_aside:
                self._set_aside([self.rows[row.operator] for row in new if row.operator in self.rows])
            for row in new:
                old = self.rows.get(row.operator)
                if old is None or replace or not old.ok:
                    self.rows[row.operator] = row
            write_text(self.path, table_text(self.header, self.rows.values()))

    def _set_aside(self, rows: Sequence[Measurement]) -> None:
        """Adds rows to `earlier/<table>.<engine version>.csv`, a table like this one; to a second one where an operator
        is in the first already. The caller holds this table's lock."""
        for version in dict.fromkeys(row.engine_version for row in rows):
            left = [row for row in rows if row.engine_version == version]
            for number in count(1):
                path = earlier_path(self.path, version, number)
                with locked(path):
                    kept = LatencyTable(path, self.header)
                    new = [row for row in left if kept.rows.get(row.operator) is None]
                    left = [row for row in left if kept.rows.get(row.operator) not in (None, row)]
                    kept.rows |= {row.operator: row for row in new}
                    write_text(path, table_text(kept.header, kept.rows.values()))
                if not left:
                    break

    def row(self, operator: Operator) -> Measurement:
        """The good row of `operator`; HwnasError with the nearest rows, or with the reason why its row failed."""
        row = self.rows.get(operator)
        if row is None:
            raise HwnasError(
                f"{self.path} has no row for {operator}",
                nearest=self._nearest(operator),
                hint=f"hwnas measure <run file> --device {self.header.device}",
            )
        if not row.ok:
            raise HwnasError(
                f"{self.path}: {operator} could not be measured: {row.reason}",
                hint="leave that option out of the space, or hwnas measure --retry-failed",
            )
        return row

    def latency_us(self, operator: Operator, statistic: str = "min") -> float:
        """The row's `min`, `p50`, `p90` or `p99`, microseconds."""
        latency = self.row(operator).statistic(statistic)
        assert latency is not None  # the reader and the harness give every good row one
        return latency

    def energy_uj(self, operator: Operator) -> float:
        """The row's energy, microjoules; HwnasError where it was not measured."""
        energy = self.row(operator).energy_uj
        if energy is None:
            raise HwnasError(
                f"{self.path} has no energy for {operator}",
                hint="this device has no readable energy counter: drop the energy limit",
            )
        return energy

    def _read(self) -> TableHeader | None:
        if not self.path.exists():
            return None
        text = read_text(self.path, SIZE_LIMIT)
        header, rows = parse_table(self.path, text)
        self.rows = {row.operator: row for row in rows}
        return header

    def _nearest(self, operator: Operator, count: int = 2) -> tuple[str, ...]:
        """What tells the most similar rows of the same kind apart from `operator`."""
        alike = [_difference(operator, other) for other in self.rows if other.kind == operator.kind]
        return tuple(text for _, text in sorted(alike)[:count])


def _difference(wanted: Operator, other: Operator) -> tuple[int, str]:
    """(how many fields differ, those fields of `other`)."""
    shapes = (wanted.inputs, wanted.output) != (other.inputs, other.output)
    have = dict(wanted.attributes)
    attributes = {name: value for name, value in other.attributes if have.get(name) != value}
    parts = ([f"{' + '.join(map(str, other.inputs))} -> {other.output}"] if shapes else []) + (
        [describe(attributes)] if attributes else []
    )
    return len(attributes) + shapes, " ".join(parts)


def _other_table(path: Path, stored: TableHeader, wanted: TableHeader) -> HwnasError:
    fields = [name for name in TableHeader.__dataclass_fields__ if getattr(stored, name) != getattr(wanted, name)]
    told = "; ".join(f"{name} {getattr(stored, name)}, not {getattr(wanted, name)}" for name in fields)
    return HwnasError(f"{path} was measured with {told}", hint="measure into another tables folder")


def open_table(tables_dir: Path, device: DeviceProfile, engine: str, precision: str, threads: int = 1) -> LatencyTable:
    """The device's table for an engine and a precision, empty where nothing was measured yet."""
    header = TableHeader(device.name, device.digest, engine, precision, threads)
    return LatencyTable(table_path(tables_dir, device, engine, precision), header)


def latency_cost(
    tables: Sequence[LatencyTable], calibration: Calibration | None = None, statistic: str = "min"
) -> OperatorCost:
    """Latency in microseconds from tables of different precisions, calibrated on whole networks where given.

    `statistic` is which one of each row is summed; the calibration must be that statistic's own. A block that could not
    be measured costs infinitely much: no limit is met with it.
    """
    fit = calibration or Calibration()
    lookup = _by_precision(tables, lambda table, operator: table.latency_us(operator, statistic))
    return OperatorCost(
        "latency", "us", lambda o: lookup(o) + fit.per_operator_us, slope=fit.slope, intercept=fit.intercept_us
    )


def energy_cost(tables: Sequence[LatencyTable]) -> OperatorCost:
    """Energy in microjoules; HwnasError when a table has a good row without a measured energy."""
    for table in tables:
        bare = next((row for row in table.rows.values() if row.ok and row.energy_uj is None), None)
        if bare is not None:
            raise HwnasError(
                f"{table.path} has no energy for {bare.operator}",
                hint="this device has no readable energy counter: drop the energy limit",
            )
    return OperatorCost("energy", "uJ", _by_precision(tables, LatencyTable.energy_uj))


def _by_precision(
    tables: Sequence[LatencyTable], read: Callable[[LatencyTable, Operator], float]
) -> Callable[[Operator], float]:
    by_precision: Mapping[str, LatencyTable] = {table.header.precision: table for table in tables}
    if len(by_precision) != len(tables):
        raise HwnasError("two tables of one precision were given", hint="give one table for each precision")

    def of(operator: Operator) -> float:
        table = by_precision.get(operator.precision)
        if table is None:
            raise HwnasError(
                f"no {operator.precision} table was given for {operator}",
                hint=f"have {', '.join(by_precision) or 'none'}",
            )
        failed = operator in table and not table.rows[operator].ok
        return math.inf if failed else read(table, operator)

    return of
