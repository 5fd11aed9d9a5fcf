"""Channel shuffle on packed signs: channel g * n + i moves to i * groups + g, a fixed permutation of bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Value, const, kernel_name
from hwnas.kernels.image import Image
from hwnas.kernels.packed_bits import WORD, pack_bits, unpack_bits, word_count
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class BinaryShuffle:
    """One shuffle of `channels` channels in `groups` groups; `x` and `y` are packed (channels = words a pixel)."""

    x: Image
    y: Image
    channels: int
    groups: int

    def __post_init__(self) -> None:
        if self.channels % self.groups:
            raise HwnasError(f"binary shuffle: groups must divide the channels, got {self.groups} and {self.channels}")
        if self.x.shape != self.y.shape or self.x.channels != word_count(self.channels):
            raise HwnasError(f"binary shuffle: both images must have {word_count(self.channels)} words a pixel")

    def source(self, channel: int) -> int:
        """The input channel that becomes output `channel`."""
        return channel % self.groups * (self.channels // self.groups) + channel // self.groups


@dataclass(frozen=True)
class Tile:
    """Pixels are shuffled one at a time."""


def reference(spec: BinaryShuffle, words: np.ndarray) -> np.ndarray:
    """uint32 words [H, W, words], bits permuted."""
    bits = unpack_bits(words, spec.channels)
    return pack_bits(bits[..., [spec.source(channel) for channel in range(spec.channels)]])


def pack(spec: BinaryShuffle, target: Target) -> tuple[np.ndarray, ...]:
    """A shuffle has no constants."""
    return ()


def tiles(spec: BinaryShuffle, target: Target) -> list[Tile]:
    return [Tile()]


def build(spec: BinaryShuffle, target: Target, tile: Tile | None = None) -> tirx.PrimFunc:
    """The kernel: x, y. Bits that move by one distance between two words move together under one mask."""
    k = KernelBuilder(kernel_name(spec, tile))
    x, y = k.pointer("x", "uint32", spec.x.size), k.pointer("y", "uint32", spec.y.size)
    with k.loop(spec.x.height) as row, k.loop(spec.x.width) as column:
        source = k.let(row * spec.x.row + column * spec.x.pixel + spec.x.start)
        place = k.let(row * spec.y.row + column * spec.y.pixel + spec.y.start)
        words = [k.let(x.load(source + word)) for word in range(spec.x.channels)]
        for word in range(spec.y.channels):
            result: Value = const(0, "uint32")
            for (origin, distance), mask in _moves(spec, word).items():
                moved = words[origin] & const(mask, "uint32")
                shift = const(abs(distance), "uint32")
                result = k.let(result | (moved << shift if distance >= 0 else moved >> shift))
            y.store(place + word, result)
    return k.finish()


def _moves(spec: BinaryShuffle, word: int) -> dict[tuple[int, int], int]:
    """(input word, distance to the left) -> mask of its bits that go to output `word`."""
    moves: dict[tuple[int, int], int] = {}
    for channel in range(word * WORD, min((word + 1) * WORD, spec.channels)):
        origin = spec.source(channel)
        key = (origin // WORD, channel % WORD - origin % WORD)
        moves[key] = moves.get(key, 0) | 1 << origin % WORD
    return moves
