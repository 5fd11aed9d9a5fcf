"""Nearest pixels, and bilinear ones in float32, operation by operation as ONNX Runtime has it: integers round them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HALF = np.float32(0.5)


def factor(size: int, result: int) -> np.float32:
    """What `size` is multiplied by to give `result`, rounded down as ONNX does: their ratio in float32, or the next
    number where the product, in float64 as ONNX's checker has it or in float32, would fall short."""
    ratio = np.float32(result) / np.float32(size)
    return ratio if size * float(ratio) >= result else np.nextafter(ratio, np.float32(np.inf))


def neighbours(size: int, result: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64 (2, result), float32 (2, result)): the two pixels that each of `result` centres lies between, and their
    weights. Where both are one pixel, beyond the outermost centres, each weighs a half."""
    centre = np.clip((np.arange(result, dtype=np.float32) + HALF) / factor(size, result) - HALF, 0, size - 1)
    low = np.floor(centre).astype(np.int64)
    places = np.stack([low, np.minimum(low + 1, size - 1)])
    weights = np.abs(centre - places[::-1].astype(np.float32)).astype(np.float32)
    weights[:, places[0] == places[1]] = HALF
    return places, weights


def bilinear(x: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """float32 (N, C, H, W) -> (N, C, *shape): four products a pixel, added in rows."""
    (rows, high), (columns, wide) = (neighbours(x.shape[2 + axis], shape[axis]) for axis in (0, 1))
    total = np.zeros((*x.shape[:2], *shape), np.float32)
    for i in range(2):
        lines = x[:, :, rows[i]]
        for j in range(2):
            total += (high[i][:, None] * wide[j][None, :]) * lines[:, :, :, columns[j]]
    return total


def nearest(x: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(N, C, H, W) of any type -> (N, C, *shape): the pixel at floor(i H / h) of every row i, and so the columns."""
    rows, columns = (np.arange(shape[axis]) * x.shape[2 + axis] // shape[axis] for axis in (0, 1))
    found: np.ndarray = x[:, :, rows][:, :, :, columns]
    return found
