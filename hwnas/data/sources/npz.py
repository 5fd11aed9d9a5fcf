"""npz: arrays `images` (N, C, H, W), (N, H, W, C) or (N, H, W) and `labels` (N,), optionally `part` (N,) of 0, 1, 2."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from hwnas.data import Raw
from hwnas.errors import HwnasError, unknown


def npz(path: str, images: str = "images", labels: str = "labels", part: str = "part") -> Raw:
    """The arrays of a NumPy archive. `part` 0, 1, 2 marks training, validation, test; absent, a split is made."""
    try:
        with np.load(Path(path), allow_pickle=False) as archive:
            held = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise HwnasError(f"data file {path} does not exist") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as problem:
        raise HwnasError(f"data file {path} is not a readable .npz: {problem}") from None
    for name in (images, labels):
        if name not in held:
            raise unknown(f"array in {path}", name, held)
    kinds = tuple(str(kind) for kind in np.unique(held[labels]))
    parts = held.get(part)
    if parts is not None and (parts.shape != held[labels].shape or not np.isin(parts, (0, 1, 2)).all()):
        raise HwnasError(f"{path}: {part!r} must hold 0, 1 or 2 for every image")
    return Raw(Path(path).stem, held[images], held[labels], kinds, parts)
