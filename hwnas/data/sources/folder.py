"""folder: an image folder, `<class>/<file>`, or `train|val|test/<class>/<file>` when the split is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwnas.data import Raw
from hwnas.errors import HwnasError

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
PARTS = {"train": 0, "val": 1, "validation": 1, "test": 2}


def folder(path: str, size: int = 64, grey: bool = False) -> Raw:
    """Every image under `path`, scaled and centre-cropped to size x size, RGB (or one grey channel)."""
    root = Path(path)
    if not root.is_dir():
        raise HwnasError(f"image folder {path} does not exist")
    named = {p.name: p for p in sorted(root.iterdir()) if p.is_dir()}
    given = {name: PARTS[name] for name in named if name in PARTS}
    if given and set(given.values()) != {0, 1, 2}:
        raise HwnasError(f"{path} has {', '.join(given)} but not all of train, val and test")
    roots = [(named[name], part) for name, part in given.items()] or [(root, 0)]
    files = [
        (f, f.parent.name, part) for top, part in roots for f in sorted(top.glob("*/*")) if f.suffix.lower() in ENDINGS
    ]
    if not files:
        raise HwnasError(
            f"{path} holds no image", hint="images go in <class>/<file>." + "|".join(sorted(e[1:] for e in ENDINGS))
        )
    kinds = sorted({kind for _, kind, _ in files})
    images = np.stack([_read(file, size, grey) for file, _, _ in files])
    labels = np.array([kinds.index(kind) for _, kind, _ in files])
    return Raw(root.name, images, labels, tuple(kinds), np.array([part for _, _, part in files]) if given else None)


def _read(file: Path, size: int, grey: bool) -> np.ndarray:
    """One image, float32 (C, size, size), 0 to 255."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            fitted = ImageOps.fit(opened.convert("L" if grey else "RGB"), (size, size))
    except (UnidentifiedImageError, OSError) as problem:
        raise HwnasError(f"{file} is not a readable image: {problem}", hint="remove it") from None
    pixels = np.asarray(fitted, dtype=np.float32)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
