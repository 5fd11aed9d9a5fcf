"""INT8 matrix product of two activations (QLinearMatMul): exact int32 sums, one float32 rounding a result.

y = saturate(round_half_even(f32(sum (a - z_a)(b - z_b)) * (s_a * s_b / s_y)) + z_y)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Value, broadcast, cast, const
from hwnas.kernels.image import symbol
from hwnas.kernels.product import Product, emit_product
from hwnas.kernels.requantise import reference as requantised
from hwnas.kernels.requantise import scaled_to_8_bits, storage
from hwnas.kernels.sweep import lanes_for
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Int8MatMul:
    """Parameters of the kernel: a, b, scale (f32 [1]), y; each u8 or, where `signed` says so, s8 (of a, b, y)."""

    product: Product
    zero_points: tuple[int, int, int] = (0, 0, 0)
    signed: tuple[bool, bool, bool] = (False, False, False)

    def __post_init__(self) -> None:
        if self.product.inner * 255 * 255 >= 2**31:
            raise HwnasError(
                f"int8 matrix product: {self.product.inner} products of 255 * 255 overflow the int32 accumulator",
                hint=f"at most {(2**31 - 1) // (255 * 255)} products per output are safe",
            )

    @property
    def macs(self) -> int:
        return self.product.macs

    def symbol(self, tile: None = None) -> str:
        p = self.product
        return symbol("int8_matmul", f"{p.rows}x{p.inner}x{p.columns}", self)


def reference(spec: Int8MatMul, a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Flat memories of codes and `pack`'s constant -> y [batch, rows, columns] of codes; a kernel gives the same."""
    left, right = spec.product.views(a.astype(np.int64), b.astype(np.int64))
    acc = (left - spec.zero_points[0]) @ (right - spec.zero_points[1])
    return requantised(acc.astype(np.float32) * scale[0], spec.zero_points[2], spec.signed[2])


def pack(spec: Int8MatMul, target: Target, scales: tuple[float, float, float]) -> tuple[np.ndarray]:
    """(s_a * s_b / s_y,) in float32, rounded in that order as ONNX Runtime does."""
    a, b, y = (np.float32(scale) for scale in scales)
    return (np.array([(a * b) / y], np.float32),)


def tiles(spec: Int8MatMul, target: Target) -> list[None]:
    return [None]


def build(spec: Int8MatMul, target: Target, tile: None = None) -> Any:
    """The kernel: f(a, b, scale, y)."""
    builder, p = KernelBuilder(spec.symbol()), spec.product
    a = builder.pointer("a", storage(spec.signed[0]), p.a_size)
    b = builder.pointer("b", storage(spec.signed[1]), p.b_size)
    scale = builder.pointer("scale", "float32", 1)
    y = builder.pointer("y", storage(spec.signed[2]), int(np.prod(p.y_shape)))
    factor = builder.let(scale.load(0))

    def centred(value: Value, operand: int, lanes: int) -> Value:
        return cast(value, "int32") - const(spec.zero_points[operand], "int32", lanes)

    def multiply(element: Value, vector: Value, lanes: int) -> Value:
        return broadcast(builder.let(centred(element, 0, 1)), lanes) * centred(vector, 1, lanes)

    def finish(index: Value, total: Value, lanes: int) -> None:
        spread = broadcast(factor, lanes)
        y.store(index, scaled_to_8_bits(builder, total, spread, spec.zero_points[2], spec.signed[2]))

    emit_product(builder, p, lanes_for(target, 32), (a, b), lambda lanes: const(0, "int32", lanes), multiply, finish)
    return builder.finish()
