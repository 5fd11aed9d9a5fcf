"""What differs between what two trees wrote: ONNX bytes, table rows, results.json and machine code of kernels."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What says when, how fast and with what command a result came about, and not what it is; at any depth.
VOLATILE_RESULTS = ("seconds", "created", "command")
VOLATILE_COLUMNS = ("measured_at",)

Difference = tuple[str, str]  # (place, what differs)


def differences(base: Path, here: Path) -> Iterator[Difference]:
    """Every place at which two work folders differ."""
    for pattern, compare in (
        ("*.onnx", _bytes),
        ("*.csv", _tables),
        ("results.json", _results),
        ("kernels.json", _json),
    ):
        files = [{path.relative_to(side): path for path in side.rglob(pattern)} for side in (base, here)]
        for name in sorted(files[0].keys() | files[1].keys()):
            if name in files[0] and name in files[1]:
                yield from compare(str(name), files[0][name], files[1][name])
            else:
                yield str(name), "only the base writes it" if name in files[0] else "only this tree writes it"


def _bytes(name: str, base: Path, here: Path) -> Iterator[Difference]:
    old, new = base.read_bytes(), here.read_bytes()
    if old != new:
        at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        yield name, f"{len(old)} and {len(new)} bytes, different from byte {at}"


def _tables(name: str, base: Path, here: Path) -> Iterator[Difference]:
    """Header lines and rows, in the order of the file; a column that only one has is one difference."""
    (old_head, old_rows), (new_head, new_rows) = _table(base), _table(here)
    yield from _values(f"{name}:header", old_head, new_head)
    yield from _values(f"{name}:row", old_rows, new_rows)


def _table(path: Path) -> tuple[str, list[dict[str, str]]]:
    head, _, rest = path.read_text(encoding="utf-8").partition("\n")
    rows = list(csv.DictReader(rest.splitlines()))
    return head, [{key: cell for key, cell in row.items() if key not in VOLATILE_COLUMNS} for row in rows]


def _results(name: str, base: Path, here: Path) -> Iterator[Difference]:
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (base, here))
    yield from _values(name, _lasting(old), _lasting(new))


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(inner) for key, inner in value.items() if key not in VOLATILE_RESULTS}
    return [_lasting(inner) for inner in value] if isinstance(value, list) else value


def _json(name: str, base: Path, here: Path) -> Iterator[Difference]:
    yield from _values(name, *(json.loads(path.read_text(encoding="utf-8")) for path in (base, here)))


def _values(place: str, old: Any, new: Any) -> Iterator[Difference]:
    """Where two values of JSON differ, leaf by leaf."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _values(f"{place}:{key}", old.get(key, "nothing"), new.get(key, "nothing"))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _values(f"{place}:{i}", one, other)
    elif old != new:
        yield place, f"{_short(old)} became {_short(new)}"


def _short(value: Any) -> str:
    text = f"{len(value)} items" if isinstance(value, dict | list) else repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
