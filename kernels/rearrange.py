"""Strided copies between dense tensors of any rank: Transpose, Slice, Pad, Concat, Split, Expand in one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError, unknown
from hwnas.kernels.builder import KernelBuilder, Memory, const
from hwnas.kernels.image import symbol
from hwnas.kernels.strides import Sizes, check_sizes, merged, nest, offset, row_major
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target

TYPES = {"float32": 32, "uint8": 8, "int8": 8, "int32": 32, "int64": 64}


@dataclass(frozen=True)
class Copy:
    """y[y_start + i . to] = x[x_start + i . of] for every index i of `shape`; x is a memory of `x_size` elements."""

    shape: Sizes
    x_size: int
    x_start: int
    of: Sizes
    y_start: int
    to: Sizes

    def reach(self, start: int, strides: Sizes) -> tuple[int, int]:
        """The lowest and the highest element that this side touches."""
        ends = [(size - 1) * stride for size, stride in zip(self.shape, strides, strict=True)]
        return start + sum(min(0, end) for end in ends), start + sum(max(0, end) for end in ends)


@dataclass(frozen=True)
class Rearrange:
    """Parameters of the kernel: one x a copy, y. Where `fill` is given, y holds it first (Pad)."""

    copies: tuple[Copy, ...]
    y_size: int
    dtype: str = "float32"
    fill: float | None = None

    def __post_init__(self) -> None:
        if self.dtype not in TYPES:
            raise unknown("type of an element", self.dtype, TYPES)
        check_sizes("rearrange", self.y_size, *(copy.x_size for copy in self.copies))
        for copy in self.copies:
            sides = ((copy.x_start, copy.of, copy.x_size), (copy.y_start, copy.to, self.y_size))
            for start, strides, size in sides:
                low, high = copy.reach(start, strides)
                if low < 0 or high >= size or min(copy.shape, default=1) < 1:
                    raise HwnasError(f"rearrange: a copy must stay inside its tensors, got {copy} of y {self.y_size}")

    def symbol(self, tile: None = None) -> str:
        return symbol("rearrange", str(self.y_size), self)


def transposition(shape: Sequence[int], order: Sequence[int], dtype: str) -> Rearrange:
    """x [shape] -> y, whose axis i is x's axis order[i]."""
    if sorted(order) != list(range(len(shape))):
        raise HwnasError(f"transpose: the order must name each of {len(shape)} axes once, got {list(order)}")
    turned, strides = tuple(shape[axis] for axis in order), row_major(shape)
    size = int(np.prod(shape))
    copy = Copy(turned, size, 0, tuple(strides[axis] for axis in order), 0, row_major(turned))
    return Rearrange((copy,), size, dtype)


def section(
    shape: Sequence[int], starts: Sequence[int], steps: Sequence[int], counts: Sequence[int], dtype: str
) -> Rearrange:
    """y[i] = x[starts + i * steps], `counts` elements an axis; steps may be negative (Slice)."""
    strides = row_major(shape)
    start = sum(first * stride for first, stride in zip(starts, strides, strict=True))
    of = tuple(step * stride for step, stride in zip(steps, strides, strict=True))
    copy = Copy(tuple(counts), int(np.prod(shape)), start, of, 0, row_major(counts))
    return Rearrange((copy,), int(np.prod(counts)), dtype)


def padding(shape: Sequence[int], before: Sequence[int], after: Sequence[int], fill: float, dtype: str) -> Rearrange:
    """x with `fill` around it (Pad, constant); negative widths crop."""
    y = [size + low + high for size, low, high in zip(shape, before, after, strict=True)]
    kept = tuple(size + min(low, 0) + min(high, 0) for size, low, high in zip(shape, before, after, strict=True))
    of, to = row_major(shape), row_major(y)
    x_start = sum(max(-low, 0) * stride for low, stride in zip(before, of, strict=True))
    y_start = sum(max(low, 0) * stride for low, stride in zip(before, to, strict=True))
    copy = Copy(kept, int(np.prod(shape)), x_start, of, y_start, to)
    return Rearrange((copy,), int(np.prod(y)), dtype, fill)


def joined(shapes: Sequence[Sequence[int]], axis: int, dtype: str) -> Rearrange:
    """The tensors laid end to end along `axis` (Concat)."""
    y = [*shapes[0]]
    y[axis] = sum(shape[axis] for shape in shapes)
    to, done, copies = row_major(y), 0, []
    for shape in shapes:
        copies.append(Copy(tuple(shape), int(np.prod(shape)), 0, row_major(shape), done * to[axis], to))
        done += shape[axis]
    return Rearrange(tuple(copies), int(np.prod(y)), dtype)


def reference(spec: Rearrange, *sources: np.ndarray) -> np.ndarray:
    """The flat memories of every copy's x -> the flat y (elements that nothing writes hold 0)."""
    y = np.full(spec.y_size, 0 if spec.fill is None else spec.fill, sources[0].dtype)
    for copy, x in zip(spec.copies, sources, strict=True):
        indices = np.indices(copy.shape).reshape(len(copy.shape), -1)
        of, to = (np.array(strides, np.int64) @ indices for strides in (copy.of, copy.to))
        y[copy.y_start + to] = x.reshape(-1)[copy.x_start + of]
    return y


def pack(spec: Rearrange, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: Rearrange, target: Target) -> list[None]:
    return [None]


def build(spec: Rearrange, target: Target, tile: None = None) -> Any:
    """The kernel: f(x of each copy..., y)."""
    b = KernelBuilder(spec.symbol())
    sources = [b.pointer(f"x{i}", spec.dtype, copy.x_size) for i, copy in enumerate(spec.copies)]
    y = b.pointer("y", spec.dtype, spec.y_size)
    lanes = lanes_for(target, TYPES[spec.dtype])
    if spec.fill is not None:
        value = spec.fill if spec.dtype == "float32" else int(spec.fill)
        for first, count, size in pieces(spec.y_size, lanes):
            with b.loop(count) as i:
                y.store(i * size + first, const(value, spec.dtype, size))
    for copy, x in zip(spec.copies, sources, strict=True):
        _emit_copy(b, copy, x, y, lanes)
    return b.finish()


def _emit_copy(b: KernelBuilder, copy: Copy, x: Memory, y: Memory, lanes: int) -> None:
    shape, (of, to) = merged(copy.shape, copy.of, copy.to)
    straight = of[-1] == to[-1] == 1
    with nest(b, shape[:-1]) as indices:
        source = offset(b, indices, of[:-1], copy.x_start)
        result = offset(b, indices, to[:-1], copy.y_start)
        for first, count, size in pieces(shape[-1], lanes if straight else 1):
            with b.loop(count) as i:
                at = b.let(i * size + first)
                y.store(result + at * to[-1], x.load(source + at * of[-1], size))
