"""Float32 layer normalisation over the last axis: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Value, broadcast, const, lanes_of, shuffle
from hwnas.kernels.elementary import square_root
from hwnas.kernels.image import symbol
from hwnas.kernels.strides import check_sizes
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Fp32LayerNorm:
    """Parameters of the kernel: x [rows, length], gamma [length], beta [length], y."""

    rows: int
    length: int
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_sizes("fp32 layer norm", self.rows, self.length, self.rows * self.length)
        if not 0 <= self.epsilon < np.inf:
            raise HwnasError(f"fp32 layer norm: epsilon must be a finite number of at least 0, got {self.epsilon}")

    def symbol(self, tile: None = None) -> str:
        return symbol("fp32_layer_norm", f"{self.rows}x{self.length}", self)


def reference(spec: Fp32LayerNorm, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """x [rows, length] -> y, in float64.

    A kernel takes the mean first and then the squares of what is left, in float32: the mean is off by up to
    length * 2^-24 of the largest magnitude, which the deviation's reciprocal enlarges.
    """
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float64(np.float32(spec.epsilon)))
    return (centred / deviation * gamma + beta).astype(np.float32)


def pack(
    spec: Fp32LayerNorm, target: Target, gamma: np.ndarray, beta: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(gamma, beta)"""
    shift = np.zeros(spec.length) if beta is None else beta
    return tuple(  # type: ignore[return-value]
        np.ascontiguousarray(np.broadcast_to(given.reshape(-1), (spec.length,)), np.float32) for given in (gamma, shift)
    )


def tiles(spec: Fp32LayerNorm, target: Target) -> list[None]:
    return [None]


def horizontal(b: KernelBuilder, value: Value) -> Value:
    """The sum of a vector's lanes, halves first: the same order on every target."""
    while lanes_of(value) > 1:
        half = lanes_of(value) // 2
        whole = b.let(value)
        value = shuffle([whole], range(half)) + shuffle([whole], range(half, 2 * half))
    return b.let(value)


def build(spec: Fp32LayerNorm, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, gamma, beta, y)."""
    b = KernelBuilder(spec.symbol())
    size = spec.rows * spec.length
    x = b.pointer("x", "float32", size)
    gamma, beta = (b.pointer(name, "float32", spec.length) for name in ("gamma", "beta"))
    y = b.pointer("y", "float32", size)
    runs = list(pieces(spec.length, lanes_for(target, 32)))
    share = const(1.0 / spec.length, "float32")

    def total(term: Any) -> Value:
        """The sum over one row of `term` of an offset and its lanes."""
        sums = []
        for first, count, lanes in runs:
            register = b.register(const(0.0, "float32", lanes))
            with b.loop(count) as i:
                register.set(register.value + term(b.let(i * lanes + first), lanes))
            sums.append(horizontal(b, register.value))
        whole = sums[0]
        for part in sums[1:]:
            whole = whole + part
        return b.let(whole)

    with b.loop(spec.rows) as row:
        start = b.let(row * spec.length)
        mean = b.let(total(lambda at, lanes: x.load(start + at, lanes)) * share)

        def squared(at: Value, lanes: int) -> Value:
            centred = b.let(x.load(start + at, lanes) - broadcast(mean, lanes))
            return centred * centred

        variance = b.let(total(squared) * share + const(spec.epsilon, "float32"))
        factor = b.let(const(1.0, "float32") / square_root(variance))
        for first, count, lanes in runs:
            with b.loop(count) as i:
                at = b.let(i * lanes + first)
                centred = x.load(start + at, lanes) - broadcast(mean, lanes)
                y.store(start + at, centred * broadcast(factor, lanes) * gamma.load(at, lanes) + beta.load(at, lanes))
    return b.finish()
