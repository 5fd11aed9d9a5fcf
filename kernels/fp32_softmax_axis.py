"""Float32 softmax over an axis that is not the last: x and y are [outer, length, inner], vectors run along `inner`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

from hwnas.kernels.activation import exponential
from hwnas.kernels.builder import KernelBuilder, const
from hwnas.kernels.image import symbol
from hwnas.kernels.strides import check_sizes
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Fp32SoftmaxAxis:
    """Parameters of the kernel: x, y. Where `inner` is 1, `Fp32Softmax` has its vectors along the axis itself."""

    outer: int
    length: int
    inner: int

    def __post_init__(self) -> None:
        check_sizes("fp32 softmax", self.outer, self.length, self.inner, self.outer * self.length * self.inner)

    def symbol(self, tile: None = None) -> str:
        return symbol("fp32_softmax_axis", f"{self.outer}x{self.length}x{self.inner}", self)


def reference(spec: Fp32SoftmaxAxis, x: np.ndarray) -> np.ndarray:
    """x [outer, length, inner] -> y.

    A kernel differs by length + 8 + |x - max| float32 units of relative rounding at most: the difference is rounded
    before the exponential. A masked score (-inf) gives 1e-38, not 0.
    """
    wide = x.reshape(spec.outer, spec.length, spec.inner).astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def pack(spec: Fp32SoftmaxAxis, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: Fp32SoftmaxAxis, target: Target) -> list[None]:
    return [None]


def build(spec: Fp32SoftmaxAxis, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, y)."""
    b = KernelBuilder(spec.symbol())
    size = spec.outer * spec.length * spec.inner
    x, y = b.pointer("x", "float32", size), b.pointer("y", "float32", size)
    for first, count, lanes in pieces(spec.inner, lanes_for(target, 32)):
        with b.loop(spec.outer) as block, b.loop(count) as piece:
            start = b.let(block * (spec.length * spec.inner) + piece * lanes + first)
            peak, total = b.register(x.load(start, lanes)), b.register(const(0.0, "float32", lanes))
            with b.loop(spec.length) as i:
                peak.set(tirx.max(peak.value, x.load(start + i * spec.inner, lanes)))
            with b.loop(spec.length) as i:
                at = b.let(start + i * spec.inner)
                power = b.let(exponential(b, x.load(at, lanes) - peak.value))
                y.store(at, power)
                total.set(total.value + power)
            scale = b.let(const(1.0, "float32", lanes) / total.value)
            with b.loop(spec.length) as i:
                at = b.let(start + i * spec.inner)
                y.store(at, y.load(at, lanes) * scale)
    return b.finish()
