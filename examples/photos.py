"""Writes a small image folder from scikit-learn's two sample photographs: python examples/photos.py photos

Six classes of patches of 96x96 pixels: which photograph, and whether the patch is as taken, noisy or strongly
compressed. Training, validation and test patches come from columns of the photographs that share no pixel. Then:
hwnas run examples/photos.yaml
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

SIDE = 96
# Columns (first, one past the last) and patches a class of each split: disjoint, so no test pixel is ever trained on.
SPLITS = {"train": (0, 360, 80), "val": (360, 500, 30), "test": (500, 640, 40)}


def noisy(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian sensor noise of 12 of 255."""
    return np.clip(patch + rng.normal(0, 12, patch.shape), 0, 255).astype(np.uint8)


def compressed(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What JPEG of quality 10 leaves."""
    buffer = io.BytesIO()
    Image.fromarray(patch).save(buffer, "JPEG", quality=10)
    return np.asarray(Image.open(buffer))


def as_taken(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return patch


def write_folder(folder: Path) -> int:
    """Writes <split>/<class>/<number>.png; returns how many."""
    kinds: list[Callable[[np.ndarray, np.random.Generator], np.ndarray]] = [as_taken, noisy, compressed]
    sample, rng, count = load_sample_images(), np.random.default_rng(0), 0
    for name, photo in zip(sample.filenames, sample.images, strict=True):
        for kind in kinds:
            for split, (first, end, patches) in SPLITS.items():
                place = folder / split / f"{Path(name).stem}-{kind.__name__}"
                place.mkdir(parents=True)
                for i in range(patches):
                    top, left = rng.integers(photo.shape[0] - SIDE + 1), rng.integers(first, end - SIDE + 1)
                    patch = kind(photo[top : top + SIDE, left : left + SIDE], rng)
                    Image.fromarray(patch).save(place / f"{i:03}.png")
                    count += 1
    return count


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "photos")
    if target.exists():
        sys.exit(f"error: {target} exists; hint: name a folder that does not, or use it as it is")
    print(f"wrote {write_folder(target)} images to {target}")
