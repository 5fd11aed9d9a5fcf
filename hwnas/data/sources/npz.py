"""npz: arrays `images` (N, C, H, W), (N, H, W, C) or (N, H, W) and `labels` (N,), optionally `part` (N,) of 0, 1, 2."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

import numpy as np

from hwnas.data import Raw, cache
from hwnas.data.pixels import IN_MEMORY
from hwnas.errors import HwnasError, unknown
from hwnas.paths import digest


def npz(path: str, images: str = "images", labels: str = "labels", part: str = "part") -> Raw:
    """The arrays of a NumPy archive. `part` 0, 1, 2 marks training, validation, test; absent, a split is made.

    Images of more than 256 MiB are unpacked once into the cache and mapped from there.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        for name in (images, labels):
            if name not in sizes:
                raise unknown(f"array in {path}", name, sizes)
        with np.load(Path(path), allow_pickle=False) as arrays:
            kinds, parts = arrays[labels], arrays[part] if part in sizes else None
            pixels = arrays[images] if sizes[images] <= IN_MEMORY else _mapped(Path(path), images, sizes[images])
    except FileNotFoundError:
        raise HwnasError(f"data file {path} does not exist") from None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as problem:
        raise HwnasError(f"data file {path} is not a readable .npz: {problem}") from None
    if parts is not None and (parts.shape != kinds.shape or not np.isin(parts, (0, 1, 2)).all()):
        raise HwnasError(f"{path}: {part!r} must hold 0, 1 or 2 for every image")
    return Raw(Path(path).stem, pixels, kinds, tuple(str(kind) for kind in np.unique(kinds)), parts)


def _mapped(path: Path, member: str, size_bytes: int) -> np.ndarray:
    """One array of the archive, unpacked as it is (a member of an .npz is an .npy file)."""
    stat = path.stat()
    name = digest([str(path.resolve()), stat.st_size, stat.st_mtime_ns, member])

    def unpack(target: Path) -> None:
        with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)

    return cache.mapped(f"npz-{name}", size_bytes, unpack)
