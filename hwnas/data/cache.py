"""Decoded images as memory-mapped files under the user's cache folder: made once, whole or not at all.

`$HWNAS_CACHE`, else `$XDG_CACHE_HOME/hwnas`, else `~/.cache/hwnas`; deleting it costs time and nothing else.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from hwnas.errors import HwnasError
from hwnas.paths import read_json, whole_file, write_json
from hwnas.units import readable_bytes

HINT = "set HWNAS_CACHE to a folder with room"


def folder() -> Path:
    """Where decoded data are kept."""
    given = os.environ.get("HWNAS_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwnas"


def mapped(name: str, size_bytes: int, write: Callable[[Path], None]) -> np.ndarray:
    """The array in `<cache>/<name>.npy`, mapped read-only; `write` makes the file (of about that size) where it is not.

    A file that cannot be mapped (cut off, not an array) is made again. Two processes make it once.
    """
    path = folder() / f"{name}.npy"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            kept = _opened(path)
            if kept is None:
                _check_room(size_bytes)
                with whole_file(path) as part:
                    write(part)
                kept = _opened(path)
    except OSError as problem:
        raise HwnasError(f"cannot write {path}: {problem.strerror or problem}", hint=HINT) from None
    except HwnasError as problem:
        if "cannot write" in problem.message:
            raise HwnasError(problem.message, hint=HINT) from None
        raise
    if kept is None:
        raise HwnasError(f"{path} was written and cannot be mapped", hint=HINT)
    return kept


def _opened(path: Path) -> np.ndarray | None:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array


def _check_room(size_bytes: int) -> None:
    free = shutil.disk_usage(folder()).free
    if free < size_bytes:
        raise HwnasError(
            f"decoded images take {readable_bytes(size_bytes)} and {folder()} has {readable_bytes(free)} free",
            hint=f"{HINT}, or give a smaller size",
        )


def scratch(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A writable array on disk that vanishes with this process, for what has no file to remember it by."""
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        folder().mkdir(parents=True, exist_ok=True)
        _check_room(size)
        with tempfile.NamedTemporaryFile(dir=folder(), prefix="scratch-") as file:
            return np.memmap(file, dtype=dtype, mode="w+", shape=shape)  # its name goes, its map stays
    except OSError as problem:
        raise HwnasError(f"cannot write {folder()}: {problem.strerror or problem}", hint=HINT) from None


def remembered(name: str, compute: Callable[[], str]) -> str:
    """`compute()`, kept in `<cache>/<name>.json` for the next process; not kept where the folder cannot be written."""
    path = folder() / f"{name}.json"
    try:
        kept = read_json(path)
        if isinstance(kept, str):
            return kept
    except HwnasError:
        pass
    value = compute()
    try:
        write_json(path, value)
    except HwnasError:
        return value
    return value


def file_of(array: np.ndarray) -> tuple[Path, int] | None:
    """The file an array is mapped from and its first byte's place in the mapping, or None."""
    start = array.__array_interface__["data"][0]
    root: object = array
    while isinstance(root, np.ndarray) and isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or root.filename is None:
        return None
    path = Path(os.fspath(root.filename))
    return (path, start - root.__array_interface__["data"][0]) if path.is_file() else None
