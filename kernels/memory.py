"""Aligned memory for calling compiled code from numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def aligned(size: int, alignment: int) -> NDArray[np.uint8]:
    """`size` zero bytes whose address is a multiple of `alignment`."""
    raw = np.zeros(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size]


def aligned_empty(shape: tuple[int, ...], dtype: Any, alignment: int = 64) -> np.ndarray:
    """Zeros of this shape at a multiple of 64 bytes, as kernels may assume."""
    return aligned(int(np.prod(shape)) * np.dtype(dtype).itemsize, alignment).view(dtype).reshape(shape)


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A contiguous copy of `array` at a multiple of 64 bytes."""
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy
