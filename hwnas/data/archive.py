"""Arrays of a NumPy archive (.npz), read with nothing executed; large ones are mapped from the cache."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwnas.data import cache
from hwnas.data.pixels import IN_MEMORY
from hwnas.errors import HwnasError, unknown
from hwnas.paths import digest


def arrays_of(path: str, needed: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of these names; an optional one that the archive lacks is left out.

    An array of more than 256 MiB is unpacked once into the cache and mapped from there. HwnasError names what is wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        for name in needed:
            if name not in sizes:
                raise unknown(f"array in {path}", name, sizes)
        wanted = [*needed, *(name for name in optional if name in sizes)]
        with np.load(Path(path), allow_pickle=False) as arrays:
            return {
                name: arrays[name] if sizes[name] <= IN_MEMORY else _mapped(Path(path), name, sizes[name])
                for name in wanted
            }
    except FileNotFoundError:
        raise HwnasError(f"data file {path} does not exist") from None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as problem:
        raise HwnasError(f"data file {path} is not a readable .npz: {problem}") from None


def _mapped(path: Path, member: str, size_bytes: int) -> np.ndarray:
    """One array of the archive, unpacked as it is (a member of an .npz is an .npy file)."""
    stat = path.stat()
    name = digest([str(path.resolve()), stat.st_size, stat.st_mtime_ns, member])

    def unpack(target: Path) -> None:
        with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)

    return cache.mapped(f"npz-{name}", size_bytes, unpack)
