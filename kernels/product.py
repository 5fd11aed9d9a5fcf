"""The matrix product of two activations: how the operands lie, and the loops that float32 and 8-bit kernels share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Memory, Value
from hwnas.kernels.strides import Sizes, broadcast_strides, check_sizes, extent, nest, offset, row_major
from hwnas.kernels.sweep import pieces

_ROWS = 4  # accumulators of one tile: enough to hide an addition's latency, few enough for eight registers


@dataclass(frozen=True)
class Product:
    """y[batch, row, column] = sum over inner of a[batch, row, inner] b[batch, inner, column]; y is dense.

    `a` and `b` are strides in elements, one an axis of `batch` and then two: a permuted or repeated operand is read
    where it lies, so that attention's heads need no copy.
    """

    batch: Sizes
    rows: int
    inner: int
    columns: int
    a: Sizes
    b: Sizes

    def __post_init__(self) -> None:
        if not len(self.a) == len(self.b) == len(self.batch) + 2 or min((*self.a, *self.b)) < 0:
            raise HwnasError(f"matrix product: {len(self.batch) + 2} strides of at least 0 are needed, got {self}")
        check_sizes("matrix product", *self.batch, self.rows, self.inner, self.columns, self.a_size, self.b_size)
        check_sizes("matrix product", prod(self.y_shape))

    @property
    def y_shape(self) -> Sizes:
        return (*self.batch, self.rows, self.columns)

    @property
    def a_size(self) -> int:
        """Elements of a's memory that the product touches."""
        return extent((*self.batch, self.rows, self.inner), self.a)

    @property
    def b_size(self) -> int:
        return extent((*self.batch, self.inner, self.columns), self.b)

    @property
    def macs(self) -> int:
        return prod(self.batch) * self.rows * self.inner * self.columns

    def views(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The operands' flat memories as [batch, rows, inner] and [batch, inner, columns]."""
        shapes = ((*self.batch, self.rows, self.inner), (*self.batch, self.inner, self.columns))
        return tuple(  # type: ignore[return-value]
            np.lib.stride_tricks.as_strided(memory, shape, [stride * memory.itemsize for stride in strides])
            for memory, shape, strides in zip((a, b), shapes, (self.a, self.b), strict=True)
        )


def product_of(a: Sequence[int], b: Sequence[int], transpose_a: bool = False, transpose_b: bool = False) -> Product:
    """The product of dense tensors of rank 2 or more, as numpy's matmul has it; a transpose swaps the last two axes."""
    if min(len(a), len(b)) < 2:
        raise HwnasError(f"matrix product: both tensors need two axes or more, got {list(a)} and {list(b)}")
    left, right = [*row_major(a)], [*row_major(b)]
    rows, inner = (a[-1], a[-2]) if transpose_a else (a[-2], a[-1])
    inner_b, columns = (b[-1], b[-2]) if transpose_b else (b[-2], b[-1])
    if inner != inner_b:
        raise HwnasError(f"matrix product: the inner sizes must agree, got {inner} and {inner_b}")
    rank = max(len(a), len(b)) - 2
    one, other = ((1,) * (rank - len(shape) + 2) + tuple(shape[:-2]) for shape in (a, b))
    batch = tuple(map(max, one, other))
    steps = []
    for shape, strides, swap in ((a, left, transpose_a), (b, right, transpose_b)):
        matrix = strides[-2:][::-1] if swap else strides[-2:]
        size = shape[-1] * shape[-2]
        steps.append((*(size * stride for stride in broadcast_strides(shape[:-2], batch)), *matrix))
    return Product(batch, rows, inner, columns, steps[0], steps[1])


def emit_product(
    b: KernelBuilder,
    product: Product,
    lanes: int,
    operands: tuple[Memory, Memory],
    zero: Callable[[int], Value],
    multiply: Callable[[Value, Value, int], Value],
    finish: Callable[[Value, Value, int], None],
) -> None:
    """The loops: `multiply` takes one element of a, a vector of b and their lanes; `finish` an index of y and a sum."""
    a, right = operands
    y_strides = row_major(product.y_shape)
    (a_row, a_inner), (b_inner, b_column) = product.a[-2:], product.b[-2:]
    with nest(b, product.batch) as indices:
        starts = [offset(b, indices, strides[:-2]) for strides in (product.a, product.b, y_strides)]
        for first, count, size in pieces(product.columns, lanes):
            for row, blocks, height in _blocks(product.rows):
                with b.loop(count) as piece, b.loop(blocks) as block:
                    column = b.let(piece * size + first)
                    top = b.let(block * height + row)
                    sums = [b.register(zero(size)) for _ in range(height)]
                    with b.loop(product.inner) as k:
                        at = b.let(starts[1] + k * b_inner + column * b_column)
                        vector = b.let(_vector(right, at, b_column, size))
                        for i, total in enumerate(sums):
                            element = a.load(starts[0] + (top + i) * a_row + k * a_inner)
                            total.set(total.value + multiply(element, vector, size))
                    for i, total in enumerate(sums):
                        finish(b.let(starts[2] + (top + i) * product.columns + column), total.value, size)


def _vector(memory: Memory, at: Value, stride: int, lanes: int) -> Value:
    return memory.load(at, lanes) if stride == 1 or lanes == 1 else memory.load_strided(at, stride, lanes)


def _blocks(rows: int) -> Sequence[tuple[int, int, int]]:
    """(first row, blocks, rows of each)."""
    whole = rows // _ROWS
    found = [(0, whole, _ROWS)] if whole else []
    return found + ([(whole * _ROWS, 1, rows % _ROWS)] if rows % _ROWS else [])
