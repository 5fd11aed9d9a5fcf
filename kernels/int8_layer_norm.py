"""INT8 layer normalisation over the last axis: exact integer statistics, then one fixed row of float32 operations.

With real numbers x = s (q - z), N of them, S their codes' sum and V = N sum(q^2) - S^2 (their variance, times N^2):

    (x - mean) / sqrt(variance + eps) = (N q - S) / sqrt(V + eps N^2 / s^2)

The zero point cancels, S and V are whole numbers, and what is left is the same on every target:

    y = saturate(round_half_even(f32(N q - S) * (1 / sqrt(f32(V) + E)) * gamma / s_y + beta / s_y) + z_y)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Value, broadcast, cast, const, rounded
from hwnas.kernels.elementary import square_root
from hwnas.kernels.image import symbol
from hwnas.kernels.requantise import reference as requantised
from hwnas.kernels.requantise import storage, to_8_bits
from hwnas.kernels.strides import check_sizes
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Int8LayerNorm:
    """Parameters of the kernel: x [rows, length], gamma / s_y, beta / s_y (f32 [length]), E (f32 [1]), y."""

    rows: int
    length: int
    y_zero_point: int = 0
    x_signed: bool = False
    y_signed: bool = False

    def __post_init__(self) -> None:
        check_sizes("int8 layer norm", self.rows, self.length, self.rows * self.length)
        if self.length * 255 * 255 >= 2**31:
            raise HwnasError(
                f"int8 layer norm: the squares of {self.length} codes overflow an int32 sum",
                hint=f"at most {(2**31 - 1) // (255 * 255)} codes a row are safe",
            )

    def symbol(self, tile: None = None) -> str:
        return symbol("int8_layer_norm", f"{self.rows}x{self.length}", self)


def reference(spec: Int8LayerNorm, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, e: np.ndarray) -> np.ndarray:
    """x [rows, length] of codes and the constants of `pack` -> y; a kernel gives the same bits."""
    codes = x.reshape(spec.rows, spec.length).astype(np.int64)
    total = codes.sum(axis=1, keepdims=True)
    spread = spec.length * (codes**2).sum(axis=1, keepdims=True) - total**2
    factor = np.float32(1) / np.sqrt(spread.astype(np.float32) + e[0])
    normal = (spec.length * codes - total).astype(np.float32) * factor
    return requantised(normal * gamma + beta, spec.y_zero_point, spec.y_signed)


def pack(
    spec: Int8LayerNorm,
    target: Target,
    gamma: np.ndarray,
    beta: np.ndarray | None,
    epsilon: float,
    scales: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(gamma / s_y, beta / s_y, epsilon N^2 / s_x^2) for the scales (s_x, s_y); E is kept positive."""
    shift = np.zeros(spec.length) if beta is None else beta
    y_scale = np.float32(scales[1])
    divided = [
        np.ascontiguousarray(np.broadcast_to(given.reshape(-1).astype(np.float32) / y_scale, (spec.length,)))
        for given in (gamma, shift)
    ]
    e = max(float(epsilon) * spec.length**2 / float(np.float32(scales[0])) ** 2, float(np.finfo(np.float32).tiny))
    return divided[0], divided[1], np.array([e], np.float32)


def tiles(spec: Int8LayerNorm, target: Target) -> list[None]:
    return [None]


def build(spec: Int8LayerNorm, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, gamma, beta, e, y)."""
    b = KernelBuilder(spec.symbol())
    size, length = spec.rows * spec.length, spec.length
    x = b.pointer("x", storage(spec.x_signed), size)
    gamma, beta = (b.pointer(name, "float32", length) for name in ("gamma", "beta"))
    e = b.pointer("e", "float32", 1)
    y = b.pointer("y", storage(spec.y_signed), size)
    with b.loop(spec.rows) as row:
        start = b.let(row * length)
        total, squares = b.register(const(0, "int32")), b.register(const(0, "int32"))
        with b.loop(length) as i:
            code = b.let(cast(x.load(start + i), "int32"))
            total.set(total.value + code)
            squares.set(squares.value + code * code)
        mean = b.let(total.value)
        wide = b.let(cast(mean, "int64"))
        spread = b.let(const(length, "int64") * cast(squares.value, "int64") - wide * wide)
        factor = b.let(const(1.0, "float32") / square_root(_to_float(b, spread) + e.load(0)))
        for first, count, lanes in pieces(length, lanes_for(target, 32)):
            with b.loop(count) as i:
                at = b.let(i * lanes + first)
                code = cast(x.load(start + at, lanes), "int32")
                centred = code * const(length, "int32", lanes) - broadcast(mean, lanes)
                normal = b.let(rounded(cast(centred, "float32") * broadcast(factor, lanes)))
                value = rounded(normal * gamma.load(at, lanes)) + beta.load(at, lanes)
                y.store(start + at, to_8_bits(b.let(value), spec.y_zero_point, spec.y_signed))
    return b.finish()


def _to_float(b: KernelBuilder, wide: Value) -> Value:
    """Float32 of an int64 between 0 and 2^47, correctly rounded without a library call.

    Both 24-bit halves convert exactly, the upper times 2^24 is exact, so their sum is the only rounding.
    """
    upper = cast(cast(wide >> const(24, "int64"), "int32"), "float32") * const(2.0**24, "float32")
    lower = cast(cast(wide & const(2**24 - 1, "int64"), "int32"), "float32")
    return b.let(rounded(upper) + lower)
