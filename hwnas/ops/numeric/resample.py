"""Antialiased bilinear resampling of one axis, in integers: the weights of torch's `antialias=True`, 22 bits each.

A result is a weighted mean of the inputs within `max(1, size / result)` of its centre (half-pixel centres, edges cut
off). As 22-bit integers the weights are as fine as float32 ones, and two passes over 8-bit pixels stay below 2^53:
whoever sums them, in 64-bit integers or in doubles, with or without fused multiply-adds, in whatever order, gets the
same number. That makes preprocessing the same to the bit in ONNX Runtime, in our kernels and here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.network import Shape

BITS = 22
ONE = 1 << BITS


@dataclass(frozen=True)
class Taps:
    """Result i is the sum over t of weights[i, t] / 2^22 * input[first[i] + t]; `weights` int32 (n, taps)."""

    first: np.ndarray
    weights: np.ndarray
    size: int

    def matrix(self) -> np.ndarray:
        """The same as float64 (n, size)."""
        dense = np.zeros((len(self.first), self.size))
        columns = self.first[:, None] + np.arange(self.weights.shape[1])
        np.put_along_axis(dense, columns, self.weights.astype(np.float64), axis=1)
        return dense


def real_weights(size: int, result: int) -> np.ndarray:
    """The exact weights float64 (result, size), rows summing to 1: a triangle as wide as the larger step."""
    scale = size / result
    reach = max(scale, 1.0)
    centres = scale * (np.arange(result) + 0.5)
    distance = np.abs(np.arange(size) + 0.5 - centres[:, None])
    weights: np.ndarray = np.maximum(0.0, 1.0 - distance / reach)
    return weights / weights.sum(axis=1, keepdims=True)


def taps(size: int, result: int) -> Taps:
    """The weights in integers, each row summing to exactly 2^22, so that a flat image stays what it is."""
    whole = np.rint(real_weights(size, result) * ONE).astype(np.int64)
    rows = np.arange(result)
    whole[rows, whole.argmax(axis=1)] += ONE - whole.sum(axis=1)
    used = whole > 0
    count = int((size - used[:, ::-1].argmax(axis=1) - used.argmax(axis=1)).max())
    first = np.minimum(used.argmax(axis=1), size - count)
    columns = first[:, None] + np.arange(count)
    return Taps(first.astype(np.int64), np.take_along_axis(whole, columns, axis=1).astype(np.int32), size)


def resample(pixels: np.ndarray, rows: Taps, columns: Taps) -> np.ndarray:
    """Images (N, H, W, C) of whole numbers 0 to 255, resized: float32 (N, h, w, C) in units of the pixels.

    The 52-bit sum is rounded to 22 fractional bits (halves up), then to float32.
    """
    planes = np.asarray(pixels, dtype=np.float64).transpose(0, 3, 1, 2)
    sums = rows.matrix() @ planes @ columns.matrix().T
    rounded = np.floor(sums / ONE + 0.5).astype(np.float32) * np.float32(1 / ONE)
    return np.ascontiguousarray(rounded.transpose(0, 2, 3, 1))


def resizing_macs(source: Shape, result: Shape) -> int:
    """Multiply-accumulates of one image: (H, W, C) to (C, h, w), rows first; none where the size stays."""
    height, width, channels = source
    if (height, width) == tuple(result[1:]):
        return 0
    row_taps, column_taps = (taps(a, b).weights.shape[1] for a, b in zip((height, width), result[1:], strict=True))
    return channels * result[1] * (width * row_taps + result[2] * column_taps)
