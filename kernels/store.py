"""Loads and stores of part of a vector: power-of-two pieces, nothing touched beyond them."""

from __future__ import annotations

from collections.abc import Iterator

from hwnas.kernels.builder import KernelBuilder, Memory, Value, const, lanes_of, shuffle


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    """(first, size) of the power-of-two pieces of `count`, largest first."""
    done = 0
    while done < count:
        size = 1 << ((count - done).bit_length() - 1)
        yield done, size
        done += size


def store_first(b: KernelBuilder, memory: Memory, index: Value, value: Value, count: int) -> None:
    """Stores the first `count` lanes of `value` from `index` on."""
    if count == lanes_of(value):
        memory.store(index, value)
        return
    whole = b.let(value)
    for first, size in _pieces(count):
        memory.store(index + first, shuffle([whole], range(first, first + size)))


def load_first(memory: Memory, index: Value, lanes: int, count: int) -> Value:
    """`count` elements from `index` on in a vector of `lanes`; the other lanes hold zero."""
    if count == lanes:
        return memory.load(index, lanes)
    zero = const(0.0 if memory.dtype == "float32" else 0, memory.dtype)
    return shuffle([memory.load(index + i) for i in range(count)] + [zero] * (lanes - count), range(lanes))
