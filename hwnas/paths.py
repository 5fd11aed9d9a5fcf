"""Files are written whole or not at all; digests say what a file or a value is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwnas.errors import HwnasError

JSON_LIMIT = 256 << 20  # the largest are results with some thousand trials, a few MiB


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary sibling to write; it replaces `path` in one step when the block ends without an error.

    Raises HwnasError when the folder cannot be written or the disk is full; `path` is then as it was before.
    """
    path = Path(os.path.realpath(path))  # a link stays, what it names is written
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as problem:
        raise unwritable(path, problem) from problem
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def unwritable(path: Path, problem: OSError) -> HwnasError:
    """The error for a path that could not be written (no permission, disk full, not a folder)."""
    reason = problem.strerror or str(problem)
    hint = "free some space" if problem.errno in (28, 122) else "choose another folder with --out"
    return HwnasError(f"cannot write {path}: {reason}", hint=f"{hint}; what was there before is untouched")


def write_text(path: Path, text: str) -> None:
    """Write `text` whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` whole or not at all."""
    with whole_file(path) as part:
        part.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all. NaN is refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, default=str) + "\n")


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a regular file of at most `most` bytes. A device or a pipe is refused without reading from it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # opening a pipe would wait for a writer
        with open(handle, "rb") as file:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise HwnasError(f"{path} is a folder, device or pipe, not a file")
            # What the size says and one byte more: a file that grows, or lies as those in /proc do, is not read on.
            data = file.read(min(max(facts.st_size, 1 << 16), most) + 1)
    except FileNotFoundError:
        raise HwnasError(f"{path} does not exist") from None
    except (OSError, ValueError) as problem:  # ValueError: a path with a NUL
        raise HwnasError(f"cannot read {path}: {getattr(problem, 'strerror', None) or problem}") from None
    if len(data) > most:
        raise HwnasError(f"{path} is larger than {most / 2**20:.0f} MiB, more than a file of its kind can be")
    return data


def read_text(path: Path, most: int) -> str:
    """The UTF-8 text of a regular file of at most `most` bytes."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError:
        raise HwnasError(f"{path} is not UTF-8 text") from None


def read_json(path: Path) -> Any:
    """The JSON value in `path`; HwnasError names the file when it is missing or is not JSON.

    What JSON leaves open is closed: NaN, infinity and a repeated key are refused.
    """
    text = read_text(path, JSON_LIMIT)
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_once)
    except (ValueError, RecursionError) as problem:  # ValueError: also a number of more than 4,300 digits
        raise HwnasError(
            f"{path} is not readable JSON: {problem}", hint="delete it and run the command again"
        ) from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no number that JSON has")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r} is given twice")
    return value


def digest(value: Any) -> str:
    """16 hexadecimal digits of SHA-256 over bytes, or over the canonical JSON of any other value."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def digest_file(path: Path) -> str:
    """16 hexadecimal digits of the file's SHA-256."""
    return digest(Path(path).read_bytes())
