"""A copy of a strided view: transposition of any rank, broadcasting, slicing, and moves between layouts.

    y[y_start + sum i_k * y_strides[k]] = x[x_start + sum i_k * x_strides[k]]    for every index i below `shape`

A stride of 0 repeats; the elements are of any type.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Value, kernel_name
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target

BITS = {"float32": 32, "uint8": 8, "int8": 8, "int32": 32, "int64": 64}


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Elements from one index to the next of a row-major array."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass(frozen=True)
class StridedCopy:
    """Parameters of the kernel: x, y. Sizes of 0 are the least that hold every element."""

    dtype: str
    shape: tuple[int, ...]
    x_strides: tuple[int, ...]
    y_strides: tuple[int, ...]
    x_start: int = 0
    y_start: int = 0
    x_size: int = 0
    y_size: int = 0

    def __post_init__(self) -> None:
        if (
            self.dtype not in BITS
            or min(self.shape) < 1
            or not len(self.shape) == len(self.x_strides) == len(self.y_strides)
        ):
            raise HwnasError(f"a strided copy must have positive sizes and as many strides, got {self}")
        if min(*self.x_strides, *self.y_strides, self.x_start, self.y_start) < 0:
            raise HwnasError(f"a strided copy must have strides and starts of at least 0, got {self}")
        for size, least in ((self.x_size, self.least_x), (self.y_size, self.least_y)):
            if (size and size < least) or least >= 2**31:
                raise HwnasError(f"a strided copy must stay inside its buffers, got {self}")

    @property
    def least_x(self) -> int:
        return self.x_start + 1 + sum((n - 1) * s for n, s in zip(self.shape, self.x_strides, strict=True))

    @property
    def least_y(self) -> int:
        return self.y_start + 1 + sum((n - 1) * s for n, s in zip(self.shape, self.y_strides, strict=True))


def reference(spec: StridedCopy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Flat buffers x and y -> y with the view's elements in it."""
    found = y.copy()
    for index in np.ndindex(*spec.shape):
        source = spec.x_start + sum(i * s for i, s in zip(index, spec.x_strides, strict=True))
        found[spec.y_start + sum(i * s for i, s in zip(index, spec.y_strides, strict=True))] = x[source]
    return found


def pack(spec: StridedCopy, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: StridedCopy, target: Target) -> list[None]:
    return [None]


def build(spec: StridedCopy, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", spec.dtype, spec.x_size or spec.least_x)
    y = b.pointer("y", spec.dtype, spec.y_size or spec.least_y)
    axes = list(_merged(spec))
    length, x_step, y_step = axes.pop()
    with ExitStack() as loops:
        source: Value = spec.x_start
        place: Value = spec.y_start
        for size, x_stride, y_stride in axes:
            i = loops.enter_context(b.loop(size))
            source, place = b.let(i * x_stride + source), b.let(i * y_stride + place)
        lanes = lanes_for(target, BITS[spec.dtype]) if x_step == y_step == 1 and target.vector_bits > 32 else 1
        for first, count, size in pieces(length, lanes):
            with b.loop(count) as i:
                offset = i * size + first
                y.store(offset * y_step + place, x.load(offset * x_step + source, size))
    return b.finish()


def _merged(spec: StridedCopy) -> Iterator[tuple[int, int, int]]:
    """(size, x stride, y stride) of the axes, without those of one element and with neighbours that lie as one."""
    held: tuple[int, int, int] | None = None
    for size, x, y in zip(spec.shape, spec.x_strides, spec.y_strides, strict=True):
        if size == 1:
            continue
        if held is not None and held[1] == size * x and held[2] == size * y:
            held = (held[0] * size, x, y)
            continue
        if held is not None:
            yield held
        held = (size, x, y)
    yield held or (1, 1, 1)
