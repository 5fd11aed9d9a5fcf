"""Float32 softmax over the channels of every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

from hwnas.kernels.activation import exponential
from hwnas.kernels.builder import KernelBuilder, broadcast, const, kernel_name
from hwnas.kernels.image import Image, check_same_shape
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Fp32Softmax:
    """Parameters of the kernel: x, y."""

    x: Image
    y: Image

    def __post_init__(self) -> None:
        check_same_shape("fp32 softmax", self.x, self.y)


def reference(spec: Fp32Softmax, x: np.ndarray) -> np.ndarray:
    """x [H, W, C] -> y; a kernel differs by C + 8 float32 units of relative rounding at most."""
    powers = np.exp(x.astype(np.float64) - x.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def pack(spec: Fp32Softmax, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: Fp32Softmax, target: Target) -> list[None]:
    return [None]


def build(spec: Fp32Softmax, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", "float32", spec.x.size)
    y = b.pointer("y", "float32", spec.y.size)
    channels, lanes = spec.x.channels, lanes_for(target, 32)
    with b.loop(spec.x.height) as row, b.loop(spec.x.width) as column:
        source = b.let(row * spec.x.row + column * spec.x.pixel + spec.x.start)
        result = b.let(row * spec.y.row + column * spec.y.pixel + spec.y.start)
        largest, total = b.register(x.load(source)), b.register(const(0.0, "float32"))
        with b.loop(channels) as i:
            largest.set(tirx.max(largest.value, x.load(source + i)))
        peak = b.let(largest.value)
        for first, count, size in pieces(channels, lanes):
            with b.loop(count) as i:
                at = b.let(i * size + first)
                y.store(result + at, exponential(b, x.load(source + at, size) - broadcast(peak, size)))
        with b.loop(channels) as i:
            total.set(total.value + y.load(result + i))
        scale = b.let(const(1.0, "float32") / total.value)
        for first, count, size in pieces(channels, lanes):
            with b.loop(count) as i:
                at = b.let(i * size + first)
                y.store(result + at, y.load(result + at, size) * broadcast(scale, size))
    return b.finish()
