"""Places every intermediate tensor in one arena; tensors that are never alive together share memory.

The lower bound is the largest sum of bytes alive during one step: no placement can need less. The plan tries several
orders of first-fit placement and, where a gap to the bound remains, improves the best order by moving the tensors
that stick out to its front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

#: orders tried after the fixed ones; each costs about n^2 comparisons for n tensors
IMPROVEMENTS = 60


@dataclass(frozen=True)
class Lifetime:
    """A tensor of `size` bytes that is written in step `first` and read for the last time in step `last`."""

    name: str
    size: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """Byte offset of every tensor, the arena's size and the bound that it cannot go below."""

    offsets: Mapping[str, int]
    arena_bytes: int
    lower_bound_bytes: int

    @property
    def overhead(self) -> float:
        """arena / lower bound - 1; 0 is perfect."""
        return self.arena_bytes / self.lower_bound_bytes - 1 if self.lower_bound_bytes else 0.0


def plan(lifetimes: Sequence[Lifetime], alignment: int) -> Plan:
    """Offsets that are multiples of `alignment`; overlapping lifetimes never share a byte."""
    rounded = [Lifetime(t.name, round_up(t.size, alignment), t.first, t.last) for t in lifetimes]
    bound = lower_bound(rounded)
    keys: tuple[Callable[[Lifetime], tuple[int, ...]], ...] = (
        lambda t: (-t.size, t.first),
        lambda t: (t.first, -t.size),
        lambda t: (t.first - t.last, -t.size),
        lambda t: (-t.size * (t.last - t.first + 1), t.first),
    )
    orders = [sorted(rounded, key=key) for key in keys]
    best_order = min(orders, key=lambda order: _height(order, place(order)))
    best = place(best_order)
    for _ in range(IMPROVEMENTS):
        if _height(best_order, best) <= bound:
            break
        top = _height(best_order, best)
        sticking = [t for t in best_order if best[t.name] + t.size == top]
        order = sticking + [t for t in best_order if t not in sticking]
        found = place(order)
        if _height(order, found) > top:
            break
        best_order, best = order, found
    return Plan(best, _height(best_order, best), bound)


def place(order: Sequence[Lifetime]) -> dict[str, int]:
    """First fit: each tensor in turn at the lowest gap that is large enough for its whole life."""
    offsets: dict[str, int] = {}
    placed: list[Lifetime] = []
    for tensor in order:
        busy = sorted((offsets[o.name], o.size) for o in placed if o.overlaps(tensor))
        offset = 0
        for start, size in busy:
            if start - offset >= tensor.size:
                break
            offset = max(offset, start + size)
        offsets[tensor.name] = offset
        placed.append(tensor)
    return offsets


def lower_bound(lifetimes: Sequence[Lifetime]) -> int:
    """The most bytes alive during any one step."""
    steps = range(max((t.last for t in lifetimes), default=-1) + 1)
    return max((sum(t.size for t in lifetimes if t.first <= step <= t.last) for step in steps), default=0)


def round_up(size: int, alignment: int) -> int:
    """The least multiple of `alignment` that is at least `size`."""
    return -(-size // alignment) * alignment


def _height(order: Sequence[Lifetime], offsets: Mapping[str, int]) -> int:
    return max((offsets[t.name] + t.size for t in order), default=0)
