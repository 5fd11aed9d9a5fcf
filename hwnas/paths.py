"""Files are written whole or not at all; digests say what a file or a value is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwnas.errors import HwnasError


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


def read_json(path: Path) -> Any:
    """The JSON value in `path`; HwnasError names the file when it is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HwnasError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise HwnasError(
            f"{path} is not readable JSON: {problem}", hint="delete it and run the command again"
        ) from None


def digest(value: Any) -> str:
    """16 hexadecimal digits of SHA-256 over bytes, or over the canonical JSON of any other value."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def digest_file(path: Path) -> str:
    """16 hexadecimal digits of the file's SHA-256."""
    return digest(Path(path).read_bytes())
