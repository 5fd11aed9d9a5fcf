"""8-bit image to float32 (DequantizeLinear) and from NHWC to NCHW or NHWC, in one pass: y = (x - z) * s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.kernels.builder import KernelBuilder, Value, broadcast, cast, const, kernel_name, lanes_of
from hwnas.kernels.image import Image, check_same_shape
from hwnas.kernels.requantise import storage
from hwnas.kernels.sweep import lanes_for, sweep_channels
from hwnas.kernels.target import Target
from hwnas.kernels.transpose import check_planar, store_spread


@dataclass(frozen=True)
class Dequantize:
    """Parameters of the kernel: x, scale (f32 [1]), y (f32; NCHW without halo where `planar`)."""

    x: Image
    y: Image
    zero_point: int = 0
    signed: bool = False
    planar: bool = True

    def __post_init__(self) -> None:
        check_same_shape("dequantize", self.x, self.y)
        if self.planar:
            check_planar("dequantize", self.y)


def reference(spec: Dequantize, x: np.ndarray, scale: float) -> np.ndarray:
    """x [H, W, C] -> f32 [H, W, C] (still NHWC)."""
    return (x.astype(np.int32) - spec.zero_point).astype(np.float32) * np.float32(scale)


def pack(spec: Dequantize, target: Target, scale: float) -> tuple[np.ndarray]:
    """(scale,)"""
    return (np.array([scale], np.float32),)


def tiles(spec: Dequantize, target: Target) -> list[None]:
    return [None]


def build(spec: Dequantize, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, scale, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", storage(spec.signed), spec.x.size)
    scale = b.pointer("scale", "float32", 1)
    y = b.pointer("y", "float32", spec.y.size)
    factor = b.let(scale.load(0))
    # a 1x1 image is the same in both layouts
    planar = spec.planar and spec.x.height * spec.x.width > 1
    plane = spec.x.height * spec.x.width

    def converted(value: Value) -> Value:
        lanes = lanes_of(value)
        centred = cast(value, "int32") - const(spec.zero_point, "int32", lanes)
        return cast(centred, "float32") * broadcast(factor, lanes)

    def body(index: list[Value], channel: Value, lanes: int) -> None:
        value = converted(x.load(index[0], lanes))
        if planar:
            store_spread(b, y, channel * (plane - 1) + index[1], plane, value)  # the index counts the channel once
        else:
            y.store(index[1], value)

    out = Image(spec.y.height, spec.y.width, spec.y.channels, (0, 0, 0, 0), spec.y.channels)
    pixels = _plane(spec.y) if planar else out if spec.planar else spec.y
    sweep_channels(b, (spec.x, pixels), lanes_for(target, 32), body)
    return b.finish()


def _plane(y: Image) -> Image:
    """One plane of an NCHW image: its pixels lie one element apart."""
    return Image(y.height, y.width, 1)
