"""The card beside a device's tables: how they were measured and how well they predict whole networks (card.json)."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hwnas.errors import HwnasError
from hwnas.paths import read_json, unwritable, write_json
from hwnas.profile import DeviceProfile

if TYPE_CHECKING:
    from filelock import BaseFileLock

SCHEMA = 1
Section = Literal["tables", "networks"]
LOCK_SECONDS = 120.0  # a holder rewrites a few MB at most; longer than this, it hangs
CLOCK = "clock"  # the name in a device's folder that all who time something there lock
SAY_SECONDS = 2.0  # a group of rows is timed in about this long: a shorter wait is not worth a line


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whole network = slope * sum(row + per_operator_us) + intercept_us. The identity where nothing was fitted."""

    slope: float = 1.0
    intercept_us: float = 0.0
    per_operator_us: float = 0.0


def card_path(tables_dir: Path, device: DeviceProfile) -> Path:
    return Path(tables_dir) / device.folder / "card.json"


def read_card(path: Path) -> dict[str, Any]:
    """The card's JSON; HwnasError when it is missing, torn, or of another schema."""
    card = read_json(path)
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise HwnasError(
            f"{path}: schema must be {SCHEMA}", hint="it is of another version: move it away and measure again"
        )
    return card


def section(card: dict[str, Any], name: Section, path: Path) -> dict[str, Any]:
    """One section of a card, empty where it has none; HwnasError when it is not a mapping."""
    found = card.get(name, {})
    if not isinstance(found, dict):
        raise HwnasError(f"{path}: {name} must be a mapping", hint="move the card away and measure again")
    return found


def update_card(path: Path, device: DeviceProfile, kind: Section, key: str, entry: dict[str, Any]) -> None:
    """Put `entry` at card[kind][key], leaving everything else; safe beside another process that does the same."""
    with locked(path):
        card: dict[str, Any] = read_card(path) if path.exists() else {"schema": SCHEMA}
        card["device"] = {"name": device.name, "digest": device.digest, "model": device.cpu.model.value}
        card[kind] = section(card, kind, path) | {key: entry}
        write_json(path, card)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file beside `path`; HwnasError when the folder is unwritable or the holder never lets go."""
    import filelock

    # one object a file: who holds it already may take it again (grading, while it times a net's tiles)
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), is_singleton=True)
    try:
        _acquire(lock, path, LOCK_SECONDS)
    except filelock.Timeout:
        raise HwnasError(
            f"another process has held {lock.lock_file} for {LOCK_SECONDS:.0f} s", hint="end it, then run this again"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def device_clock(tables_dir: Path, device: DeviceProfile, timeout_s: float | None = None) -> Iterator[None]:
    """The right to time something on a device: rows, whole networks, tiles and exported files take turns at it.

    Side by side two processes would time each other. Grading a table can hold it for minutes, so a second process
    waits as long as that takes and says so; the system takes the lock from a process that died. A process may take it
    again inside the block. HwnasError where others hold it for longer than `timeout_s`.
    """
    with turn(Path(tables_dir) / device.folder / CLOCK, device.name, timeout_s):
        yield


@contextmanager
def turn(path: Path, what: str, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the lock file beside `path` for as long as something is timed on `what`, however long others hold it, or
    HwnasError after `timeout_s`."""
    import filelock

    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), is_singleton=True)
    patience = SAY_SECONDS if timeout_s is None else min(SAY_SECONDS, timeout_s)
    left = None if timeout_s is None else timeout_s - patience
    try:
        _acquire(lock, path, patience)
    except filelock.Timeout:
        if left is None or left > 0:
            print(f"waiting: another process is timing on {what} ({lock.lock_file})", file=sys.stderr, flush=True)
        try:
            _acquire(lock, path, left)
        except filelock.Timeout:
            raise HwnasError(
                f"another process has been timing on {what} for {timeout_s:g} s ({lock.lock_file})",
                hint="wait for it, or end it",
            ) from None
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock, path: Path, seconds: float | None) -> None:
    """Waits for `lock`, forever where `seconds` is None; HwnasError where the folder cannot be written."""
    import filelock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if seconds is None else seconds)
    except filelock.Timeout:
        raise
    except OSError as problem:
        raise unwritable(path, problem) from problem


def calibration_of(entry: dict[str, Any]) -> Calibration:
    """The calibration in a card's network entry; HwnasError when it is not three finite numbers, slope above 0."""
    fit = entry.get("calibration")
    names = ("slope", "intercept_us", "per_operator_us")
    found = [fit.get(name) for name in names] if isinstance(fit, dict) else []
    # A JSON number may be an integer too large for a float; True is an int to Python and no number here.
    numbers = [n for n in found if isinstance(n, int | float) and not isinstance(n, bool) and -1e300 < n < 1e300]
    if len(numbers) != len(names) or numbers[0] <= 0:
        raise HwnasError(
            f"the card's calibration must give {', '.join(names)} as numbers, the slope above 0, got {fit!r}",
            hint="delete the card and measure again",
        )
    return Calibration(*map(float, numbers))


def versions() -> dict[str, str]:
    """What took part: Python, hwnas and every engine that is installed."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in ("hwnas", "numpy", "onnx", "onnxruntime", "apache-tvm"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def command_line() -> str:
    """The command that is running, without the interpreter's path."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
