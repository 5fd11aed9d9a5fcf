"""Packing signs: 8 input channels a byte, least significant bit first, bit 1 = +1, bit 0 = -1."""

from __future__ import annotations

import numpy as np


def pack_signs(weight: np.ndarray) -> np.ndarray:
    """(O, C, KH, KW) real weights, w >= 0 standing for +1, to uint8 (O, KH, KW, ceil(C / 8)); spare bits are 0."""
    positive = (weight >= 0).transpose(0, 2, 3, 1)
    return np.packbits(positive, axis=-1, bitorder="little")


def unpack_signs(packed: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (O, KH, KW, ceil(C / 8)) to int8 (O, C, KH, KW) of +1 and -1."""
    bits = np.unpackbits(packed, axis=-1, count=channels, bitorder="little").astype(np.int8)
    result: np.ndarray = (2 * bits - 1).transpose(0, 3, 1, 2)
    return result
