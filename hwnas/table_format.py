"""The text of a latency table: one header line, one line of column names, one CSV row an operator. Strict both ways.

Everything a reader needs is in the file: a schema version, the device's digest, the engine, precision and threads.
Floats are written by `repr`, so what is read back is what was measured, bit for bit.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from hwnas.errors import HwnasError, unknown
from hwnas.network import Attribute, Operator, Port, Shape, require_precision
from hwnas.samples import of_samples

SCHEMA = 1
COLUMNS = (
    "kind",
    "precision",
    "input_shape",
    "output_shape",
    "attributes",
    "status",
    "reason",
    "latency_us",
    "p50_us",
    "p90_us",
    "spread",
    "overhead_us",
    "runs",
    "energy_uj",
    "energy_source",
    "engine_version",
    "measured_at",
    "samples_us",
)
_TITLE = "# hwnas latency table"
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*\Z")
_TOKEN = re.compile(r'([A-Za-z_][A-Za-z0-9_.]*)=("(?:[^"\\]|\\.)*"|[^\s"]+)(?: |\Z)')
_KIND = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,18}")  # str.isdigit takes digits that int() does not
_NOT_BARE = {"true", "false", "nan", "inf", "infinity"}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One table row. `latency_us` is the chosen statistic, the minimum; a failed row has a reason and no numbers.

    `spread` is how far the two best independent loads were apart (0.01 = 1 %): the row's own noise. `runs` counts
    every timed execution. `samples_us` are as the clock gave them, each the mean of `runs / len(samples_us)` executions
    back to back; the statistics are those of the samples less `overhead_us`, what a run does besides the block.
    """

    operator: Operator
    status: Literal["ok", "failed"]
    reason: str = ""
    latency_us: float | None = None
    p50_us: float | None = None
    p90_us: float | None = None
    spread: float | None = None
    overhead_us: float | None = None
    runs: int = 0
    samples_us: tuple[float, ...] = ()
    energy_uj: float | None = None
    energy_source: str = ""
    engine_version: str = ""
    measured_at: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def statistic(self, name: str) -> float | None:
        """`min`, `p50`, `p90` or `p99`, microseconds; None in a failed row.

        p99 is read off the samples, so tables of any age have it; a row that was kept without samples answers by p90.
        """
        known = {"min": self.latency_us, "p50": self.p50_us, "p90": self.p90_us, "p99": self.p90_us}
        if name not in known:
            raise unknown("statistic", name, known)
        if name == "p99" and self.samples_us and self.p90_us is not None:
            return max(of_samples(self.samples_us, "p99") - (self.overhead_us or 0.0), self.p90_us)
        return known[name]


@dataclass(frozen=True, slots=True)
class TableHeader:
    """What all rows of a table share."""

    device: str
    digest: str
    engine: str
    precision: str
    threads: int

    def line(self) -> str:
        return (
            f"{_TITLE} schema={SCHEMA} device={self.device} digest={self.digest} engine={self.engine}"
            f" precision={self.precision} threads={self.threads}"
        )


def attributes_text(attributes: Iterable[tuple[str, Attribute]]) -> str:
    """`activation=relu kernel=3 se=true`; strings that would read as something else are quoted."""
    return " ".join(f"{name}={_value_text(value)}" for name, value in attributes)


def _value_text(value: Attribute) -> str:
    if isinstance(value, str) and _BARE.match(value) and value.lower() not in _NOT_BARE:
        return value
    return json.dumps(value)


def parse_attributes(text: str) -> tuple[tuple[str, Attribute], ...]:
    """The inverse of `attributes_text`; ValueError says what is wrong."""
    found: list[tuple[str, Attribute]] = []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"must be name=value pairs separated by one space, got {text[at:]!r}")
        name, value = token.groups()
        parsed = value if _BARE.match(value) and value.lower() not in _NOT_BARE else _scalar(value)
        if not isinstance(parsed, int | float | str | bool) or (
            isinstance(parsed, float) and not math.isfinite(parsed)
        ):
            raise ValueError(f"{name} must be a number, a word, true or false, got {value}")
        found.append((name, parsed))
        at = token.end()
    if [name for name, _ in found] != sorted({name for name, _ in found}):
        raise ValueError(f"names must be sorted and differ, got {text!r}")
    return tuple(found)


def _scalar(text: str) -> object:
    """A quoted word, a number, true or false; never a list, which json would read by recursion."""
    if text.lstrip("-")[:1] not in tuple('"0123456789tf'):
        raise ValueError(f"must be a number, a word, true or false, got {text[:40]!r}")
    value = json.loads(text)
    if isinstance(value, int) and abs(value) > 1e300:  # no float could hold it
        raise ValueError(f"is too large a number: {text[:40]!r}")
    return value


def shape_text(shape: Shape) -> str:
    return "x".join(str(extent) for extent in shape)


def port_text(port: Port) -> str:
    """`24x28x28`, or `int64:16` where the values are not real ones."""
    return shape_text(port.shape) if port.dtype == "float32" else f"{port.dtype}:{shape_text(port.shape)}"


def parse_port(text: str) -> Port:
    """What `port_text` wrote; ValueError otherwise."""
    dtype, colon, shape = text.rpartition(":")
    if colon and not re.fullmatch(r"u?int(8|16|32|64)|bool", dtype):
        raise ValueError(f"must be a type such as int64 before the colon, got {dtype[:20]!r}")
    return Port(parse_shape(shape), dtype or "float32")


def parse_shape(text: str) -> Shape:
    """(24, 28, 28) of `24x28x28`; ValueError otherwise."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}(x[1-9][0-9]{0,8}){0,7}", text):
        raise ValueError(f"must be extents above 0 such as 24x28x28, got {text!r}")
    return tuple(int(part) for part in text.split("x"))


def table_text(header: TableHeader, rows: Iterable[Measurement]) -> str:
    """The whole file."""
    out = io.StringIO()
    out.write(header.line() + "\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_cells(row) for row in rows)
    return out.getvalue()


def _cells(row: Measurement) -> list[str]:
    operator = row.operator
    numbers = (row.latency_us, row.p50_us, row.p90_us, row.spread, row.overhead_us)
    return [
        operator.kind,
        operator.precision,
        "+".join(map(port_text, operator.inputs)),
        port_text(operator.output),
        attributes_text(operator.attributes),
        row.status,
        " ".join(row.reason.split()),
        *("" if number is None else repr(float(number)) for number in numbers),
        str(row.runs),
        "" if row.energy_uj is None else repr(float(row.energy_uj)),
        " ".join(row.energy_source.split()),
        row.engine_version,
        row.measured_at,
        " ".join(repr(float(sample)) for sample in row.samples_us),
    ]


def parse_table(path: Path, text: str) -> tuple[TableHeader, list[Measurement]]:
    """Header and rows of a table's text. HwnasError names file, line and column of the first thing that is wrong."""
    if not text.endswith("\n"):
        last = text.count("\n") + 1
        raise HwnasError(f"{path}:{last}: the last line is torn: a table ends with a line break", hint=_KEPT)
    first, _, body = text.partition("\n")
    header = _parse_header(path, first)
    reader = csv.reader(io.StringIO(body), strict=True)
    rows: list[Measurement] = []
    seen: dict[Operator, int] = {}
    line = 2
    try:
        for cells in reader:
            line = reader.line_num + 1
            if line == 2:
                _check_columns(path, cells)
                continue
            row = _Line(path, line, cells, header.precision).measurement()
            if row.operator in seen:
                raise HwnasError(
                    f"{path}:{line}: {row.operator} already has a row, line {seen[row.operator]}", hint=_KEPT
                )
            seen[row.operator] = line
            rows.append(row)
    except csv.Error as problem:
        raise HwnasError(f"{path}:{line + 1}: not a CSV line: {problem}", hint=_KEPT) from None
    if line < 2 or not body:
        raise HwnasError(f"{path}:2: the line of column names is missing", hint=_KEPT)
    return header, rows


_KEPT = "the file was left as it is: correct or delete that line, then measure what is missing"


def _parse_header(path: Path, line: str) -> TableHeader:
    if not line.startswith(_TITLE + " "):
        raise HwnasError(f"{path}:1: a latency table starts with '{_TITLE}', got {line[:60]!r}", hint=_KEPT)
    fields = dict(part.partition("=")[::2] for part in line[len(_TITLE) :].split())
    if fields.get("schema") != str(SCHEMA):
        raise HwnasError(
            f"{path}:1: schema must be {SCHEMA}, got {fields.get('schema')!r}",
            hint="it was written by another version of hwnas: measure into another folder",
        )
    missing = [name for name in ("device", "digest", "engine", "precision", "threads") if not fields.get(name)]
    if missing:
        raise HwnasError(f"{path}:1: the header must give {missing[0]}=", hint=_KEPT)
    _require_precision(path, 1, fields["precision"])
    if not _COUNT.fullmatch(fields["threads"]) or int(fields["threads"]) < 1:
        raise HwnasError(f"{path}:1: threads must be a whole number above 0, got {fields['threads']!r}", hint=_KEPT)
    return TableHeader(
        fields["device"], fields["digest"], fields["engine"], fields["precision"], int(fields["threads"])
    )


def _require_precision(path: Path, line: int, precision: str) -> None:
    try:
        require_precision(precision)
    except HwnasError as problem:
        raise HwnasError(f"{path}:{line}: {problem.message}", nearest=problem.nearest, hint=_KEPT) from None


def _check_columns(path: Path, cells: list[str]) -> None:
    if tuple(cells) != COLUMNS:
        odd = next((c for c in cells if c not in COLUMNS), None) or next(
            (c for c in COLUMNS if c not in cells), "their order"
        )
        raise HwnasError(f"{path}:2: the columns must be {','.join(COLUMNS)}; what differs: {odd}", hint=_KEPT)


class _Line:
    """One CSV line on its way to a Measurement; every refusal names file, line and column."""

    def __init__(self, path: Path, line: int, cells: list[str], precision: str) -> None:
        self.path, self.line, self.precision = path, line, precision
        if len(cells) != len(COLUMNS):
            raise HwnasError(
                f"{path}:{line}: the line is torn: it has {len(cells)} of {len(COLUMNS)} columns", hint=_KEPT
            )
        self.cells = dict(zip(COLUMNS, cells, strict=True))

    def refuse(self, column: str, problem: str) -> NoReturn:
        raise HwnasError(f"{self.path}:{self.line}: {column} {problem}", hint=_KEPT)

    def measurement(self) -> Measurement:
        cells = self.cells
        if cells["status"] not in ("ok", "failed"):
            self.refuse("status", f"must be ok or failed, got {cells['status']!r}")
        ok = cells["status"] == "ok"
        if not ok and not cells["reason"]:
            self.refuse("reason", "must say why the row failed")
        return Measurement(
            operator=self._operator(),
            status="ok" if ok else "failed",
            reason=cells["reason"],
            latency_us=self._number("latency_us", required=ok),
            p50_us=self._number("p50_us", required=ok),
            p90_us=self._number("p90_us", required=ok),
            spread=self._number("spread", required=False, zero=True),
            overhead_us=self._number("overhead_us", required=False, zero=True),
            runs=self._count("runs", least=1 if ok else 0),
            samples_us=tuple(self._float("samples_us", part, False) for part in cells["samples_us"].split()),
            energy_uj=self._number("energy_uj", required=False),
            energy_source=self._source(),
            engine_version=cells["engine_version"],
            measured_at=cells["measured_at"],
        )

    def _operator(self) -> Operator:
        cells = self.cells
        _require_precision(self.path, self.line, cells["precision"])
        if cells["precision"] != self.precision:
            self.refuse("precision", f"must be {self.precision} as in the file's header, got {cells['precision']!r}")
        if not _KIND.fullmatch(cells["kind"]):
            self.refuse("kind", f"must name a block, got {cells['kind'][:60]!r}")
        column = "input_shape"
        try:
            inputs = tuple(parse_port(part) for part in cells[column].split("+"))
            column = "output_shape"
            output = parse_port(cells[column])
            column = "attributes"
            attributes = parse_attributes(cells[column])
        except ValueError as problem:
            self.refuse(column, f"is unreadable: {problem}")
        return Operator(cells["kind"], inputs, output, cells["precision"], attributes)  # type: ignore[arg-type]

    def _float(self, column: str, text: str, zero: bool) -> float:
        try:
            # float() also reads 1_0 and the digits of other scripts, which no table of ours holds
            number = float(text) if text.isascii() and "_" not in text else float("")
        except ValueError:
            self.refuse(column, f"must be a number, got {text[:60]!r}")
        if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
            self.refuse(column, f"must be a finite number above 0, got {text!r}")
        return number

    def _number(self, column: str, required: bool, zero: bool = False) -> float | None:
        text = self.cells[column]
        if not text:
            return self.refuse(column, "must be given where status is ok") if required else None
        return self._float(column, text, zero)

    def _count(self, column: str, least: int) -> int:
        text = self.cells[column]
        if not _COUNT.fullmatch(text) or int(text) < least:
            self.refuse(column, f"must be a whole number of at least {least}, got {text!r}")
        return int(text)

    def _source(self) -> str:
        if self.cells["energy_uj"] and not self.cells["energy_source"]:
            self.refuse("energy_source", "must say where the energy figure comes from")
        return self.cells["energy_source"]
