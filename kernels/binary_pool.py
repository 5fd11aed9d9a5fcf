"""Pooling on packed signs: the largest of -1/+1 values is the OR of their bits, the smallest the AND."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Value, kernel_name
from hwnas.kernels.image import Image, Window, check_window, padded, patches
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class BinaryPool:
    """One pooling: `x` and `y` are packed (channels = words a pixel).

    `kind` is "max" or "min". Padding never wins: the halo of `x` must hold bits 0 for "max"; for "min" bits 1 in every
    valid channel (`packed_bits.pixel_fill`).
    """

    x: Image
    y: Image
    window: Window
    kind: str = "max"

    def __post_init__(self) -> None:
        if self.kind not in ("max", "min"):
            raise HwnasError(f"binary pool: kind must be max or min, got {self.kind!r}")
        if self.x.channels != self.y.channels:
            raise HwnasError(f"binary pool: words a pixel must agree, got {self.x.channels} and {self.y.channels}")
        check_window("binary pool", self.x, self.y, self.window)


@dataclass(frozen=True)
class Tile:
    """Words combined at once."""

    lanes: int


def reference(spec: BinaryPool, words: np.ndarray) -> np.ndarray:
    """uint32 words [H, W, words] to [OH, OW, words]."""
    fill = 0 if spec.kind == "max" else 0xFFFFFFFF
    combine = np.bitwise_or if spec.kind == "max" else np.bitwise_and
    return combine.reduce(patches(padded(words, spec.window, fill), spec.window), axis=2)


def pack(spec: BinaryPool, target: Target) -> tuple[np.ndarray, ...]:
    """Pooling has no constants."""
    return ()


def tiles(spec: BinaryPool, target: Target) -> list[Tile]:
    most = max(1, target.vector_bits // 32)
    lanes = 1
    while lanes * 2 <= min(most, spec.x.channels):
        lanes *= 2
    return [Tile(lanes)]


def build(spec: BinaryPool, target: Target, tile: Tile | None = None) -> tirx.PrimFunc:
    """The kernel: x, y."""
    lanes = (tile or tiles(spec, target)[0]).lanes
    k = KernelBuilder(kernel_name(spec, tile))
    x, y = k.pointer("x", "uint32", spec.x.size), k.pointer("y", "uint32", spec.y.size)
    window = spec.window

    def combine(source: Value, place: Value, width: int) -> None:
        result: Value = None
        for i in range(window.kernel[0]):
            for j in range(window.kernel[1]):
                at = source + i * window.dilation[0] * spec.x.row + j * window.dilation[1] * spec.x.pixel
                word = x.load(at, width)
                result = word if result is None else (result | word if spec.kind == "max" else result & word)
        y.store(place, result)

    with k.loop(spec.y.height) as row, k.loop(spec.y.width) as column:
        source = k.let(
            (row * window.stride[0] - window.padding[0]) * spec.x.row
            + (column * window.stride[1] - window.padding[1]) * spec.x.pixel
            + spec.x.start
        )
        place = k.let(row * spec.y.row + column * spec.y.pixel + spec.y.start)
        whole = spec.x.channels // lanes
        with k.loop(whole) as i:
            combine(source + i * lanes, place + i * lanes, lanes)
        for word in range(whole * lanes, spec.x.channels):
            combine(source + word, place + word, 1)
    return k.finish()
