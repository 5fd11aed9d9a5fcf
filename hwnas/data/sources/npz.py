"""npz: arrays `images` (N, C, H, W), (N, H, W, C) or (N, H, W) and `labels` (N,), optionally `part` (N,) of 0, 1, 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwnas.data import Raw
from hwnas.data.archive import arrays_of
from hwnas.data.splits import checked_parts


def npz(path: str, images: str = "images", labels: str = "labels", part: str = "part") -> Raw:
    """The arrays of a NumPy archive. `part` 0, 1, 2 marks training, validation, test; absent, a split is made.

    Images of more than 256 MiB are unpacked once into the cache and mapped from there.
    """
    held = arrays_of(path, (images, labels), (part,))
    parts = checked_parts(held.get(part), held[labels], f"{path}: {part!r}", "image")
    classes = tuple(str(kind) for kind in np.unique(held[labels]))
    return Raw(Path(path).stem, held[images], held[labels], classes, parts)
