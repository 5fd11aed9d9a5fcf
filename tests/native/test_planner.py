"""The memory planner: tensors that live together never share a byte, and simple nets reach the lower bound."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.export.native.planner import Lifetime, lower_bound, plan


def random_lifetimes(seed: int) -> list[Lifetime]:
    random = np.random.default_rng(seed)
    steps = int(random.integers(1, 30))
    found = []
    for index in range(int(random.integers(1, 40))):
        first = int(random.integers(0, steps))
        last = int(min(steps - 1, first + random.integers(0, 6)))
        found.append(Lifetime(f"t{index}", int(random.integers(1, 5000)), first, last))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_tensors_that_live_together_never_share_a_byte(seed: int) -> None:
    lifetimes = random_lifetimes(seed)
    placed = plan(lifetimes, 64)
    for index, one in enumerate(lifetimes):
        assert placed.offsets[one.name] % 64 == 0
        assert placed.offsets[one.name] + one.size <= placed.arena_bytes
        for other in lifetimes[index + 1 :]:
            if one.overlaps(other):
                start, end = placed.offsets[one.name], placed.offsets[one.name] + one.size
                assert end <= placed.offsets[other.name] or placed.offsets[other.name] + other.size <= start


@pytest.mark.parametrize("seed", range(40))
def test_the_arena_is_at_least_the_bound_and_near_it(seed: int) -> None:
    placed = plan(random_lifetimes(seed), 64)
    assert placed.arena_bytes >= placed.lower_bound_bytes
    # random lifetimes are harder than nets; first fit in several orders stays within a quarter of the bound
    assert placed.overhead <= 0.25


def test_a_chain_with_shortcuts_needs_exactly_the_bound() -> None:
    chain = [
        Lifetime(f"t{i}", size, i, i + (3 if i % 3 == 0 else 1))
        for i, size in enumerate([640, 1280, 1280, 640, 1280, 1280, 320, 640, 640, 64])
    ]
    assert plan(chain, 64).arena_bytes == lower_bound(chain)


def test_nothing_to_place_needs_nothing() -> None:
    assert plan([], 64).arena_bytes == 0
