"""INT8 global average pooling (QLinearGlobalAveragePool).

y = saturate(round(f32(sum x - H * W * z_x) * (s_x / (s_y * f32(H * W)))) + z_y)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, broadcast, cast, const, kernel_name
from hwnas.kernels.image import Image
from hwnas.kernels.requantise import reference as requantised
from hwnas.kernels.requantise import scaled_to_8_bits, storage
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Int8GlobalPool:
    """Parameters of the kernel: x, scale (f32 [1]), y (1x1xC)."""

    x: Image
    y: Image
    x_zero_point: int = 0
    y_zero_point: int = 0
    signed: bool = False

    def __post_init__(self) -> None:
        if self.y.shape != (1, 1, self.x.channels):
            raise HwnasError(f"int8 global pool: the output must be (1, 1, {self.x.channels}), got {self.y.shape}")
        if self.x.height * self.x.width * 255 >= 2**31:
            raise HwnasError(f"int8 global pool: {self.x.height}x{self.x.width} pixels overflow the int32 sum")


def scale_of(spec: Int8GlobalPool, x_scale: float, y_scale: float) -> np.ndarray:
    """[s_x / (s_y * f32(pixels))] in float32."""
    pixels = np.float32(spec.x.height * spec.x.width)
    return np.array([np.float32(x_scale) / np.float32(np.float32(y_scale) * pixels)], np.float32)


def reference(spec: Int8GlobalPool, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """x [H, W, C] and the constant of `scale_of` -> y [1, 1, C]."""
    acc = x.astype(np.int32).sum(axis=(0, 1), keepdims=True) - x.shape[0] * x.shape[1] * spec.x_zero_point
    return requantised(acc.astype(np.float32) * scale[0], spec.y_zero_point, spec.signed)


def pack(spec: Int8GlobalPool, target: Target, x_scale: float, y_scale: float) -> tuple[np.ndarray]:
    """(scale,)"""
    return (scale_of(spec, x_scale, y_scale),)


def tiles(spec: Int8GlobalPool, target: Target) -> list[None]:
    return [None]


def build(spec: Int8GlobalPool, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, scale, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    kind = storage(spec.signed)
    x = b.pointer("x", kind, spec.x.size)
    scale = b.pointer("scale", "float32", 1)
    y = b.pointer("y", kind, spec.y.size)
    factor = b.let(scale.load(0))
    bias = -spec.x.height * spec.x.width * spec.x_zero_point
    for first, count, lanes in pieces(spec.x.channels, lanes_for(target, 32)):
        with b.loop(count) as i:
            channel = b.let(i * lanes + first)
            acc = b.register(const(bias, "int32", lanes))
            with b.loop(spec.x.height) as row:
                start = b.let(row * spec.x.row + spec.x.start + channel)
                with b.loop(spec.x.width) as column:
                    acc.set(acc.value + cast(x.load(start + column * spec.x.pixel, lanes), "int32"))
            value = scaled_to_8_bits(b, acc.value, broadcast(factor, lanes), spec.y_zero_point, spec.signed)
            y.store(channel + spec.y.start, value)
    return b.finish()
