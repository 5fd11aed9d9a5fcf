"""Signs in 32-bit words along channels: bit c % 32 of word c // 32 is 1 for +1 and 0 for -1; pad bits are 0."""

from __future__ import annotations

import numpy as np

WORD = 32


def word_count(channels: int) -> int:
    """Words that hold `channels` bits."""
    return -(-channels // WORD)


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Booleans [..., C] (True is +1) to uint32 words [..., ceil(C / 32)]."""
    channels = bits.shape[-1]
    padded = np.zeros((*bits.shape[:-1], word_count(channels) * WORD), np.uint8)
    padded[..., :channels] = bits
    packed = np.packbits(padded, axis=-1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u4").astype(np.uint32, copy=False)


def unpack_bits(words: np.ndarray, channels: int) -> np.ndarray:
    """uint32 words [..., ceil(C / 32)] to booleans [..., C]."""
    flat = np.ascontiguousarray(words.astype("<u4", copy=False)).view(np.uint8)
    return np.unpackbits(flat, axis=-1, count=channels, bitorder="little").astype(bool)


def signs(words: np.ndarray, channels: int) -> np.ndarray:
    """uint32 words [..., ceil(C / 32)] to int8 -1/+1 [..., C]."""
    return np.where(unpack_bits(words, channels), 1, -1).astype(np.int8)


def pixel_fill(channels: int, sign: int) -> np.ndarray:
    """The words of one pixel whose every channel is `sign` (+1 or -1): what a packed image's halo must hold."""
    return pack_bits(np.full(channels, sign > 0))


def unpack_weight_bytes(packed: np.ndarray, channels: int) -> np.ndarray:
    """The ONNX BinaryConv weight, uint8 [O, KH, KW, ceil(C / 8)], to int8 -1/+1 [O, KH, KW, C]."""
    bits = np.unpackbits(packed, axis=-1, count=channels, bitorder="little")
    return np.where(bits, 1, -1).astype(np.int8)
