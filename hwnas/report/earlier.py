"""Files of earlier runs in a run's folder: read from the manifests beside them, so that one page shows every file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.errors import HwnasError
from hwnas.paths import read_json
from hwnas.report.results import Results, Row


def with_earlier(results: Results, folder: Path) -> Results:
    """The results with what the folder's manifests hold beyond them: files of other targets, as last verified and
    timed.

    A manifest that cannot be read, or an entry that is not one, is no reason to show nothing: it is left out.
    """
    shown = {row.file for target in results.targets for row in target.rows}
    found = [row for path in sorted(folder.glob("export/*/manifest.json")) for row in _rows(path, folder)]
    return replace(results, earlier=tuple(row for row in found if row.file not in shown))


def _rows(path: Path, folder: Path) -> Iterator[Row]:
    try:
        entries = read_json(path)
    except HwnasError:
        return
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        row = _row(name, entry, path.parent, folder) if isinstance(entry, dict) else None
        if row is not None:
            yield row


def _row(name: str, entry: dict[str, Any], exported: Path, folder: Path) -> Row | None:
    """A manifest's entry as a row, where the file it speaks of is still there; None where it lacks something."""
    try:
        files = list(entry["files"])
        # An entry is named by its artefact; in older manifests by its precision.
        artefact = next((file.split("/")[0] for file in files if "/" in file), files[0])
        file = exported / (name if (exported / name).exists() else artefact)
        if not file.exists():
            return None
        return Row(
            precision=str(entry["precision"]),
            engine=str(entry["engine"]),
            role="winner" if entry["role"] == "winner" else "fp32 twin",
            accuracy=float(entry["accuracy"]),
            predicted_us=_number(entry.get("predicted_us")),
            measured_us=_number(entry.get("measured_us")),
            p50_us=_number(entry.get("p50_us")),
            p90_us=_number(entry.get("p90_us")),
            size_bytes=int(entry["size_bytes"]),
            peak_bytes=int(entry["peak_bytes"]),
            energy_uj=None,
            limit_ok=None,
            verified=str(entry["verified"]["summary"]),
            file=file.relative_to(folder).as_posix(),
            weight_bytes=int(entry["weight_bytes"]),
            p99_us=_number(entry.get("p99_us")),
            samples=_whole(entry.get("timed_samples")),
            arena_bytes=_whole(entry.get("arena_bytes")),
            file_bytes=_whole(entry.get("file_bytes")),
        )
    except (KeyError, TypeError, ValueError, IndexError, StopIteration):
        return None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
