"""What stands in a run's folder, read from the manifests beside the files: the latest of each file on one page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.confidence import wilson
from hwnas.errors import HwnasError
from hwnas.paths import read_json
from hwnas.report.findings import in_unit_of, kept, limit_verdict
from hwnas.report.results import Results, Row, Ship, Target


def with_latest(results: Results, folder: Path) -> Results:
    """The results with what the manifests in the folder know beyond them: the latest verification and timing of each
    file, and files of other targets that earlier runs left there.

    A manifest that cannot be read, or an entry that is not one, is no reason to show nothing: it is left out.
    """
    manifests = sorted(folder.glob("export/*/manifest.json"))
    found = {row.file: row for path in manifests for row in _rows(path, folder)}
    made_of = {file: architecture for path in manifests for file, architecture in _architectures(path, folder)}
    targets = tuple(
        _replaced(target)
        if any(made_of.get(row.file, target.architecture) != target.architecture for row in _winners(target))
        else replace(target, rows=tuple(_latest(row, found.get(row.file), results) for row in target.rows))
        for target in results.targets
    )
    for row in (row for target in results.targets for row in target.rows):
        found.pop(row.file, None)
    newer = replace(results, targets=targets, earlier=tuple(found.values()))
    return replace(newer, ship=_answer(newer))


def _winners(target: Target) -> list[Row]:
    return [row for row in target.rows if row.role == "winner"]


def _architectures(path: Path, folder: Path) -> Iterator[tuple[str, Any]]:
    """What the manifest's files are made of, by path below the run's folder."""
    entries = _entries(path)
    for name, entry in entries.items():
        if isinstance(entry, dict) and isinstance(entry.get("architecture"), dict):
            yield (path.parent / name).relative_to(folder).as_posix(), entry["architecture"]


def _replaced(target: Target) -> Target:
    """A target whose files an export of another pick has written over: its figures are not of what stands there."""
    said = "NOT these files: an export of another architecture has replaced them"
    return replace(target, rows=tuple(replace(row, verified=said) for row in target.rows))


def _answer(results: Results) -> Ship | None:
    """The answer of the run, withdrawn where the file was timed or verified again since and no longer fits."""
    ship = results.ship
    for row in (row for target in results.targets for row in target.rows):
        if ship is None or row.file != ship.file:
            continue
        if kept(row) is False or not row.verified.startswith("ok"):
            wrong = limit_verdict(row, results.limits, results.statistic) if kept(row) is False else row.verified
            return Ship(None, None, None, f"{row.file} was chosen, and as looked at again since: {wrong}; run it again")
    return ship


def _latest(row: Row, found: Row | None, results: Results) -> Row:
    """The row as its manifest has it by now: a later `hwnas verify` timed and verified the file again."""
    if found is None or found.measured_us is None or found.size_bytes != row.size_bytes:
        return row
    now = {name: getattr(found, name) for name in MEASURED if getattr(found, name) is not None}
    low, high = found.accuracy_low, found.accuracy_high
    if low is None or high is None:  # verified by a version that wrote no interval
        low, high = wilson(found.accuracy, found.test_images or results.dataset.test)
    newer = replace(row, **now, accuracy_low=low, accuracy_high=high, not_timed=None)
    values = {limit.name: in_unit_of(limit, newer, results.statistic) for limit in results.limits}
    within = {limit.name: limit.value for limit in results.limits}
    judged = {n: v <= within[n] for n, v in values.items() if v is not None and n in row.verdicts}
    verdicts = {**row.verdicts, **judged}
    return replace(newer, verdicts=verdicts, limit_ok=None if row.limit_ok is None else all(verdicts.values()))


MEASURED = ("accuracy", "measured_us", "p50_us", "p90_us", "p99_us", "samples", "verified", "test_images")


def _rows(path: Path, folder: Path) -> Iterator[Row]:
    for name, entry in _entries(path).items():
        row = _row(name, entry, path.parent, folder) if isinstance(entry, dict) else None
        if row is not None:
            yield row


def _entries(path: Path) -> dict[str, Any]:
    try:
        entries = read_json(path)
    except HwnasError:
        return {}
    return entries if isinstance(entries, dict) else {}


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
            test_images=_whole(entry["verified"].get("samples")),
            accuracy_low=_number(entry["verified"].get("accuracy_low")),
            accuracy_high=_number(entry["verified"].get("accuracy_high")),
            not_timed=str(entry["not_timed"]) if entry.get("not_timed") else None,
        )
    except (KeyError, TypeError, ValueError, IndexError, StopIteration, AttributeError):
        return None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
