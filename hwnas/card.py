"""The card beside a device's tables: how they were measured and how well they predict whole networks (card.json)."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from hwnas.device import DeviceProfile
from hwnas.errors import HwnasError
from hwnas.paths import read_json, unwritable, write_json

SCHEMA = 1
Section = Literal["tables", "networks"]
LOCK_SECONDS = 120.0  # a holder rewrites a few MB at most; longer than this, it hangs


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
            f"{path}: schema must be {SCHEMA}", hint="another version of hwnas wrote it: delete it and measure again"
        )
    return card


def update_card(path: Path, device: DeviceProfile, section: Section, key: str, entry: dict[str, Any]) -> None:
    """Put `entry` at card[section][key], leaving everything else; safe beside another process that does the same."""
    with locked(path):
        card: dict[str, Any] = read_card(path) if path.exists() else {"schema": SCHEMA}
        card["device"] = {"name": device.name, "digest": device.digest, "model": device.cpu.model.value}
        card.setdefault(section, {})[key] = entry
        write_json(path, card)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file beside `path`; HwnasError when the folder is unwritable or the holder never lets go."""
    import filelock

    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # one object a file: who holds it already may take it again (grading, while it times a net's tiles)
        held = filelock.FileLock(lock, timeout=LOCK_SECONDS, is_singleton=True)
        held.acquire()
    except filelock.Timeout:
        raise HwnasError(
            f"another process has held {lock} for {LOCK_SECONDS:.0f} s", hint="end it, then run this again"
        ) from None
    except OSError as problem:
        raise unwritable(path, problem) from problem
    try:
        yield
    finally:
        held.release()


def calibration_of(entry: dict[str, Any]) -> Calibration:
    """The calibration in a card's network entry; HwnasError when it is not three finite numbers, slope above 0."""
    fit = entry.get("calibration")
    names = ("slope", "intercept_us", "per_operator_us")
    found = [fit.get(name) for name in names] if isinstance(fit, dict) else []
    numbers = [float(number) for number in found if isinstance(number, int | float) and math.isfinite(number)]
    if len(numbers) != len(names) or numbers[0] <= 0:
        raise HwnasError(
            f"the card's calibration must give {', '.join(names)} as numbers, the slope above 0, got {fit!r}",
            hint="delete the card and measure again",
        )
    return Calibration(*numbers)


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
