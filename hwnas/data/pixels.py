"""Pixels as they were given: checked, described and digested a piece at a time, never copied whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from hwnas.data import cache
from hwnas.errors import HwnasError
from hwnas.paths import digest

IN_MEMORY = 256 << 20  # bytes; arrays up to this size are held, larger ones stay in a file that is mapped
PIECE = 4 << 20  # bytes looked at together: eight times as much once they are float64
STATISTICS_IMAGES = 8192  # of the training split: a channel's mean is then known to 1/90 of its spread or better


def checked(
    name: str, images: np.ndarray, labels: np.ndarray, layout: Literal["NCHW", "NHWC"] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, H, W, C), uint8 where every value is one, and labels int64 0..classes-1, or HwnasError."""
    images, labels, where = np.asanyarray(images), np.asarray(labels), f"data {name}"
    if images.dtype.kind not in "fiub" or labels.dtype.kind not in "iu":
        raise HwnasError(
            f"{where}: images must be numbers and labels whole numbers, got {images.dtype} and {labels.dtype}"
        )
    if images.ndim == 3:
        images, layout = images[..., None], "NHWC"
    if images.ndim != 4 or labels.ndim != 1 or len(images) != len(labels) or 0 in images.shape:
        raise HwnasError(f"{where}: images must be (N, C, H, W) with N labels, got {images.shape} and {labels.shape}")
    if layout is None:
        layout = "NHWC" if images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3) else "NCHW"
    pixels = images if layout == "NHWC" else images.transpose(0, 2, 3, 1)
    _finite(where, pixels)
    kinds, codes = np.unique(labels, return_inverse=True)
    if len(kinds) < 2:
        raise HwnasError(f"{where}: one class only ({len(labels)} images)", hint="a classifier needs at least two")
    return _narrowed(pixels), codes.astype(np.int64)


def pieces(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Consecutive images of about PIECE bytes together."""
    step = max(1, PIECE // max(1, pixels[:1].nbytes))
    for start in range(0, len(pixels), step):
        yield pixels[start : start + step]


def _finite(where: str, pixels: np.ndarray) -> None:
    if pixels.dtype.kind != "f":
        return
    bad = np.concatenate([~np.isfinite(part).all(axis=(1, 2, 3)) for part in pieces(pixels)])
    if bad.any():
        raise HwnasError(
            f"{where}: {int(bad.sum())} images have NaN or infinite pixels, the first at index {int(bad.argmax())}",
            hint="remove or repair them",
        )


def _narrowed(pixels: np.ndarray) -> np.ndarray:
    """uint8 where nothing is lost by it, float32 otherwise; what is mapped from a file stays as it lies there."""
    if pixels.dtype == np.uint8 or cache.file_of(pixels) is not None:
        return pixels
    if all((part == part.astype(np.uint8)).all() and part.min() >= 0 for part in _bounded(pixels)):
        return pixels.astype(np.uint8)
    return pixels.astype(np.float32)


def _bounded(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Pieces clipped to what uint8 can be asked about: a cast of -1 or 256 would wrap round."""
    for part in pieces(pixels):
        yield part if part.dtype == bool else np.clip(part, -0.5, 255.5)


def statistics(pixels: np.ndarray, train: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel of the training images, of STATISTICS_IMAGES evenly spaced at most."""
    chosen = train[np.unique(np.linspace(0, len(train) - 1, min(len(train), STATISTICS_IMAGES)).round().astype(int))]
    step = max(1, PIECE // max(1, pixels[:1].nbytes))
    starts = range(0, len(chosen), step)
    count = len(chosen) * pixels.shape[1] * pixels.shape[2]

    def summed(centre: np.ndarray, power: int) -> np.ndarray:
        parts = (pixels[chosen[i : i + step]].reshape(-1, pixels.shape[3]).astype(np.float64) - centre for i in starts)
        total: np.ndarray = sum((part**power).sum(axis=0) for part in parts) / count
        return total

    mean = summed(np.zeros(pixels.shape[3]), 1)
    std = np.maximum(np.sqrt(summed(mean, 2)), 1e-6)  # two passes: E[x^2] - E[x]^2 loses digits
    return tuple(map(float, mean)), tuple(map(float, std))


def content_digest(pixels: np.ndarray) -> str:
    """Digest of shape, type and every pixel; that of a large mapped file is kept by its path, size and time."""

    def compute() -> str:
        running = hashlib.sha256(repr((pixels.shape, pixels.dtype.str)).encode())
        for part in pieces(pixels):
            running.update(np.ascontiguousarray(part).data)
        return running.hexdigest()[:16]

    file = cache.file_of(pixels) if pixels.nbytes > IN_MEMORY else None
    if file is None:
        return compute()
    path, start = file
    stat = Path(path).stat()
    what = [str(path), stat.st_size, stat.st_mtime_ns, start, pixels.shape, pixels.strides, pixels.dtype.str]
    return cache.remembered(f"digest-{digest(what)}", compute)
