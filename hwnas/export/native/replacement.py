"""Puts a finished folder in its place. What stood there goes only where it is an artefact that nobody has changed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import HwnasError
from hwnas.paths import read_json, unwritable

SCHEMA = 1
MANIFEST = "manifest.json"
HINT = "name an empty or new folder with --out"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


@contextlib.contextmanager
def new_folder(destination: str | Path) -> Iterator[Path]:
    """An empty folder to fill; when the block ends without an error it stands at `destination`, whole.

    `destination` may be new, empty, or an artefact as it was written: its manifest lists every file in it, and each
    has the digest that was listed. Anything else is refused with HwnasError before the block runs, and an error leaves
    what stood there. A link is followed: the folder that it names is replaced, the link stays.
    """
    place = Path(os.path.realpath(destination))
    refuse_what_is_not_ours(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as beside:
            whole = Path(beside) / "whole"
            whole.mkdir()
            yield whole
            _put(whole, place)
    except OSError as problem:
        raise unwritable(place, problem) from problem


def refuse_what_is_not_ours(place: Path) -> None:
    """HwnasError that names what stands at `place`, unless it is new, empty, or an unchanged artefact."""
    if not os.path.lexists(place):
        return
    if not place.is_dir():
        raise HwnasError(f"{place} is a file", hint=HINT)
    here = Path.cwd()
    if place == here or place in here.parents:
        raise HwnasError(f"{place} is the working folder, or holds it", hint="name a folder below it with --out")
    if place.is_mount():
        raise HwnasError(f"{place} is a mount point", hint="name a folder below it with --out")
    foreign = foreign_files(place)
    if foreign:
        more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
        raise HwnasError(
            f"{place} holds other files, or ones changed since they were written: {', '.join(foreign[:5])}{more}",
            hint=HINT,
        )


def foreign_files(folder: Path) -> list[str]:
    """What in `folder` no export wrote: every name that its manifest does not list with the digest that it has now."""
    names = sorted(entry.name for entry in os.scandir(folder))
    listed = _listed(folder)
    return [name for name in names if not _is_ours(folder / name, listed)]


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a digest of itself, so that one edited by hand is known as the user's."""
    return {**manifest, "digest": _seal(manifest)}


def _seal(manifest: Mapping[str, Any]) -> str:
    facts = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _listed(folder: Path) -> dict[str, str]:
    """File -> digest of an artefact's manifest; empty where there is no manifest of ours, or an edited one.

    A manifest without a seal is one of an older version; it has other keys that no other program's has.
    """
    path = folder / MANIFEST
    try:
        manifest = None if path.is_symlink() else read_json(path)
    except HwnasError:
        return {}
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        return {}
    files = manifest.get("files")
    ours = "digest" in manifest or "triple" in manifest or manifest.get("engine") == "onnxruntime"
    if not ours or not isinstance(files, dict) or manifest.get("digest", _seal(manifest)) != _seal(manifest):
        return {}
    return {name: str(digest) for name, digest in files.items()} | {MANIFEST: ""}


def _is_ours(path: Path, listed: Mapping[str, str]) -> bool:
    wanted = listed.get(path.name)
    if wanted is None or path.is_symlink() or not path.is_file():
        return False
    # older versions listed the first 16 digits for a model kept for ONNX Runtime
    return path.name == MANIFEST or (len(wanted) >= 16 and file_digest(path).startswith(wanted))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put(whole: Path, place: Path) -> None:
    """`whole` to `place` in one step; then what stood there is deleted, file by file."""
    if not os.path.lexists(place) or not any(place.iterdir()):
        os.rename(whole, place)  # over an empty folder too
        return
    # not below `whole`'s parent, which is deleted: whatever happens from here on, the older folder stays until it is
    # known that nobody changed it
    older = Path(tempfile.mkdtemp(dir=place.parent, prefix=f"{place.name}.replaced-"))
    os.rename(whole, older)
    try:
        swapped = _exchange(older, place)
    except OSError:
        os.rename(older, whole)
        raise
    if not swapped:
        os.rename(older, whole)
        older.mkdir()
        os.rename(place, older)  # a kill here leaves the older artefact under that name
        os.rename(whole, place)
    changed = foreign_files(older)
    if changed:  # written while this export ran
        raise HwnasError(f"{place} was changed during the export ({', '.join(changed[:5])})", hint=f"it is now {older}")
    for path in older.iterdir():
        path.unlink()
    older.rmdir()


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step (Linux renameat2); False where the system cannot."""
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if swap(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), str(other))
