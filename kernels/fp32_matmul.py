"""Float32 matrix product of two activations, batched, times a number: attention's scores and its mix of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Value, broadcast, const
from hwnas.kernels.image import symbol
from hwnas.kernels.product import Product, emit_product
from hwnas.kernels.sweep import lanes_for
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Fp32MatMul:
    """y = scale * a b. Parameters of the kernel: a, b, y."""

    product: Product
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not np.isfinite(self.scale):
            raise HwnasError(f"fp32 matrix product: the scale must be finite, got {self.scale}")

    @property
    def macs(self) -> int:
        return self.product.macs

    def symbol(self, tile: None = None) -> str:
        p = self.product
        return symbol("fp32_matmul", f"{p.rows}x{p.inner}x{p.columns}", self)


def reference(spec: Fp32MatMul, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Flat memories -> y [batch, rows, columns], summed in float64.

    A kernel sums in float32 in order: it may differ by inner * 2^-23 of the sum of magnitudes.
    """
    left, right = spec.product.views(a.astype(np.float64), b.astype(np.float64))
    return (np.float64(np.float32(spec.scale)) * (left @ right)).astype(np.float32)


def pack(spec: Fp32MatMul, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: Fp32MatMul, target: Target) -> list[None]:
    return [None]


def build(spec: Fp32MatMul, target: Target, tile: None = None) -> Any:
    """The kernel: f(a, b, y)."""
    builder, p = KernelBuilder(spec.symbol()), spec.product
    a = builder.pointer("a", "float32", p.a_size)
    b = builder.pointer("b", "float32", p.b_size)
    y = builder.pointer("y", "float32", int(np.prod(p.y_shape)))

    def finish(index: Value, total: Value, lanes: int) -> None:
        y.store(index, total if spec.scale == 1 else total * const(spec.scale, "float32", lanes))

    emit_product(
        builder,
        p,
        lanes_for(target, 32),
        (a, b),
        lambda lanes: const(0.0, "float32", lanes),
        lambda element, vector, lanes: broadcast(element, lanes) * vector,
        finish,
    )
    return builder.finish()
