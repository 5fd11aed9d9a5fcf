"""float32 NHWC to packed signs: bit c of a pixel is 1 where v >= threshold[c] (one rule for ties and for zero)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Memory, Value, cast, const, kernel_name, mask_bits
from hwnas.kernels.image import Image
from hwnas.kernels.packed_bits import WORD, pack_bits, word_count
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class SignPack:
    """One packing: `x` float32 with C channels, `bits` of the same size with words(C) words a pixel."""

    x: Image
    bits: Image

    def __post_init__(self) -> None:
        expected = (self.x.height, self.x.width, word_count(self.x.channels))
        if self.bits.shape != expected:
            raise HwnasError(f"sign pack: the packed image must be {expected}, got {self.bits.shape}")


@dataclass(frozen=True)
class Tile:
    """Vectors of `lanes` floats are compared at once."""

    lanes: int


def reference(spec: SignPack, x: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """float32 [H, W, C] and thresholds [C] to words [H, W, words]."""
    return pack_bits(x >= threshold)


def pack(spec: SignPack, target: Target, threshold: np.ndarray) -> tuple[np.ndarray, ...]:
    """The thresholds, float32 [C]."""
    return (np.ascontiguousarray(threshold, np.float32),)


def tiles(spec: SignPack, target: Target) -> list[Tile]:
    return [Tile(max(1, min(target.vector_bits // 32, 16)))]


def build(spec: SignPack, target: Target, tile: Tile | None = None) -> tirx.PrimFunc:
    """The kernel: x, threshold, bits."""
    lanes = (tile or tiles(spec, target)[0]).lanes
    k = KernelBuilder(kernel_name(spec, tile))
    x = k.pointer("x", "float32", spec.x.size)
    threshold = k.pointer("threshold", "float32", spec.x.channels)
    bits = k.pointer("bits", "uint32", spec.bits.size)
    whole, rest = divmod(spec.x.channels, WORD)
    with k.loop(spec.x.height) as row, k.loop(spec.x.width) as column:
        source = k.let(row * spec.x.row + column * spec.x.pixel + spec.x.start)
        packed = k.let(row * spec.bits.row + column * spec.bits.pixel + spec.bits.start)
        if whole:
            with k.loop(whole) as word:
                bits.store(packed + word, _word(k, x, threshold, source, word * WORD, WORD, lanes))
        if rest:
            first = tirx.const(whole * WORD, "int32")
            bits.store(packed + whole, _word(k, x, threshold, source, first, rest, lanes))
    return k.finish()


def _word(
    k: KernelBuilder, x: Memory, threshold: Memory, source: Value, channel: Value, valid: int, lanes: int
) -> Value:
    """The word of `valid` channels from `channel` on."""
    word: Value = const(0, "uint32")
    done = 0
    while done < valid:
        width = min(lanes, 1 << ((valid - done).bit_length() - 1))
        condition = x.load(source + channel + done, width) >= threshold.load(channel + done, width)
        word = word | (cast(mask_bits(condition), "uint32") << const(done, "uint32"))
        done += width
    return k.let(word)
