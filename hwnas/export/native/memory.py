"""Aligned memory for calling compiled code from numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def aligned(size: int, alignment: int) -> NDArray[np.uint8]:
    """`size` zero bytes whose address is a multiple of `alignment`."""
    raw = np.zeros(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size]
