"""Dense tensors of any rank: strides, axes that every operand walks as one, loops over what is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Value, const

Sizes = tuple[int, ...]


def row_major(shape: Sequence[int]) -> Sizes:
    """Elements from one index to the next along every axis of a dense tensor."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def broadcast_strides(shape: Sequence[int], result: Sequence[int]) -> Sizes:
    """Strides of a dense tensor walked in the order of `result` by numpy's broadcasting rules: 0 where it repeats."""
    aligned = (1,) * (len(result) - len(shape)) + tuple(shape)
    if len(aligned) != len(result) or any(mine not in (1, whole) for mine, whole in zip(aligned, result, strict=True)):
        raise HwnasError(f"a tensor {list(shape)} does not broadcast to {list(result)}")
    return tuple(0 if size == 1 else stride for size, stride in zip(aligned, row_major(aligned), strict=True))


def merged(shape: Sequence[int], *operands: Sequence[int]) -> tuple[Sizes, tuple[Sizes, ...]]:
    """(shape, strides of each operand) with axes of one index left out and neighbours that all walk as one joined.

    At least one axis is left, so that there is an innermost loop.
    """
    axes: list[tuple[int, tuple[int, ...]]] = []
    for size, *steps in zip(shape, *operands, strict=True):
        if size == 1:
            continue
        if axes and all(outer == size * inner for outer, inner in zip(axes[-1][1], steps, strict=True)):
            axes[-1] = (axes[-1][0] * size, tuple(steps))
        else:
            axes.append((size, tuple(steps)))
    axes = axes or [(1, (1,) * len(operands))]
    return tuple(size for size, _ in axes), tuple(tuple(s[i] for _, s in axes) for i in range(len(operands)))


def check_sizes(what: str, *sizes: int) -> None:
    """Refuses empty tensors and those whose offsets leave 32 bits."""
    if not all(0 < size < 2**31 for size in sizes):
        raise HwnasError(f"{what}: every tensor must have between 1 and 2^31 - 1 elements, got {list(sizes)}")


def extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to the last that such a walk touches; strides are not negative."""
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


@contextmanager
def nest(b: KernelBuilder, shape: Sequence[int]) -> Iterator[list[Value]]:
    """Loops over every index of `shape`, the last innermost; gives the indices."""
    with ExitStack() as stack:
        yield [stack.enter_context(b.loop(size)) for size in shape]


def offset(b: KernelBuilder, indices: Sequence[Value], strides: Sequence[int], start: int = 0) -> Value:
    """The element that the indices lead to."""
    total: Value = const(start, "int32")
    for index, stride in zip(indices, strides, strict=True):
        if stride:
            total = total + index * stride
    return b.let(total)
