"""Float image to 8 bits (QuantizeLinear) and from NCHW or NHWC to NHWC, in one pass.

y = saturate(round(x / s) + z): a true division, as ONNX Runtime does it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.kernels.builder import KernelBuilder, Memory, Value, broadcast, const, kernel_name, shuffle
from hwnas.kernels.image import Image, check_same_shape
from hwnas.kernels.requantise import reference as requantised
from hwnas.kernels.requantise import storage, to_8_bits
from hwnas.kernels.sweep import lanes_for, pieces, sweep_channels
from hwnas.kernels.target import Target
from hwnas.kernels.transpose import check_planar, store_spread


@dataclass(frozen=True)
class Quantize:
    """Parameters of the kernel: x (f32; NCHW without halo where `planar`), scale (f32 [1]), y."""

    x: Image
    y: Image
    zero_point: int = 0
    signed: bool = False
    planar: bool = True

    def __post_init__(self) -> None:
        check_same_shape("quantize", self.x, self.y)
        if self.planar:
            check_planar("quantize", self.x)


def reference(spec: Quantize, x: np.ndarray, scale: float) -> np.ndarray:
    """x [H, W, C] f32 (already NHWC) -> [H, W, C] 8-bit."""
    return requantised(x.astype(np.float32) / np.float32(scale), spec.zero_point, spec.signed)


def pack(spec: Quantize, target: Target, scale: float) -> tuple[np.ndarray]:
    """(scale,)"""
    return (np.array([scale], np.float32),)


def tiles(spec: Quantize, target: Target) -> list[None]:
    return [None]


def build(spec: Quantize, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, scale, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", "float32", spec.x.size)
    scale = b.pointer("scale", "float32", 1)
    y = b.pointer("y", storage(spec.signed), spec.y.size)
    divisor = b.let(scale.load(0))

    def converted(value: Value, lanes: int) -> Value:
        return to_8_bits(value / broadcast(divisor, lanes), spec.zero_point, spec.signed)

    def body(index: list[Value], channel: Value, lanes: int) -> None:
        y.store(index[1], converted(x.load(index[0], lanes), lanes))

    lanes = lanes_for(target, 32)
    if not spec.planar or spec.x.channels == 1:
        sweep_channels(b, (spec.x, spec.y), lanes, body)
        return b.finish()
    for first, count, size in pieces(spec.x.width, lanes):
        with b.loop(spec.x.height) as row, b.loop(count) as i:
            column = b.let(i * size + first)
            source = b.let(row * spec.x.width + column)
            pixel = b.let(spec.y.start + row * spec.y.row + column * spec.y.pixel)
            _planes_to_pixels(b, spec, x, y, source, pixel, size, converted)
    return b.finish()


def _planes_to_pixels(
    b: KernelBuilder,
    spec: Quantize,
    x: Memory,
    y: Memory,
    source: Value,
    pixel: Value,
    size: int,
    converted: Callable[[Value, int], Value],
) -> None:
    """`size` adjacent pixels: one interleaved store where a pixel holds up to four bytes, else a store a byte."""
    plane = spec.x.height * spec.x.width
    if size == 1 or spec.y.pixel > 4:
        with b.loop(spec.x.channels) as channel:
            value = b.let(converted(x.load(channel * plane + source, size), size))
            store_spread(b, y, pixel + channel, spec.y.pixel, value)
        return
    planes = [b.let(converted(x.load(c * plane + source, size), size)) for c in range(spec.x.channels)]
    planes += [const(0, y.dtype, size)] * (spec.y.pixel - len(planes))
    y.store(pixel, shuffle(planes, [c * size + i for i in range(size) for c in range(spec.y.pixel)]))
