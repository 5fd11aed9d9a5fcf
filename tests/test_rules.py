"""What a rule may bring besides steps: optimisers, rates, a memory, a wish for held-out batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwnas.batches import draws, halves
from hwnas.checkpoint import load_state
from hwnas.data import Images, Raw, prepare
from hwnas.errors import HwnasError
from hwnas.methods.rule.darts import Darts
from hwnas.methods.rule.single_path import SinglePath
from hwnas.protocols import Batch
from hwnas.space import SearchSpace
from hwnas.spaces.nas_bench_201 import nas_bench_201
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import WeightSharing
from hwnas.train import Schedule, optimisers_of, step, train

SPACE = resnet_binary(1, 4, (8,), 8, 2, ((8, 16),), (1, 2), (2,), (3,))
ONCE = Schedule(epochs=1, batch_size=16, warmup=2)


def noise(count: int = 97, classes: int = 4) -> Images:
    """Random images, all but six to train on."""
    images = np.random.default_rng(0).normal(size=(count + 6, 1, 8, 8))
    parts = np.repeat([0, 1, 2], [count, 3, 3])
    return prepare(Raw("noise", images, np.arange(count + 6) % classes, tuple("0123"[:classes]), parts))


DATA = noise()


class Counting(SinglePath):
    """A rule with a memory: it counts its steps and averages a weight; both change what it trains."""

    def __init__(self) -> None:
        super().__init__(SPACE)
        self.count, self.average = 0, torch.zeros(())

    def steps(self, net: Any, batch: Batch) -> Iterator[tuple[str, Iterator[Tensor]]]:
        scale = 1.0 + 0.1 * self.count + self.average
        for group, losses in super().steps(net, batch):
            yield group, (scale * loss for loss in losses)
            self.count += 1  # after the step: the law of `steps`
            self.average = 0.9 * self.average + 0.1 * next(net.parameters()).detach().mean()

    def state(self) -> Mapping[str, Any]:
        return {"count": self.count, "average": self.average}

    def load(self, state: Mapping[str, Any], /) -> None:
        self.count, self.average = int(state["count"]), state["average"]


def cells(width: int = 4) -> SearchSpace:
    """A tiny NAS-Bench-201: three operations an edge."""
    return nas_bench_201(1, 4, width, 1, (8, 8), ("skip_connect", "nor_conv_1x1", "avg_pool_3x3"), affine=False)


def cut_at(step: int) -> Any:
    def progress(done: int, total: int, note: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("kind", ["counting", "darts", "darts of order 2"])
def test_a_rule_with_a_memory_that_is_cut_off_ends_as_an_undisturbed_one(kind: str, tmp_path: Path) -> None:
    space = SPACE if kind == "counting" else cells()
    schedule, checkpoint = Schedule(epochs=3, batch_size=16, shift=1), tmp_path / "checkpoint.pt"

    def rule() -> Any:
        return Counting() if kind == "counting" else Darts(space, order=2 if "2" in kind else 1, alpha_rate=0.1)

    undisturbed, first, second = rule(), rule(), rule()
    whole = train(WeightSharing(space), undisturbed, DATA, schedule).state_dict()
    with pytest.raises(KeyboardInterrupt):
        train(WeightSharing(space), first, DATA, schedule, checkpoint, "a", cut_at(5))
    resumed = train(WeightSharing(space), second, DATA, schedule, checkpoint, "a").state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())
    for one, other in zip(_leaves(undisturbed.state()), _leaves(second.state()), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def _leaves(value: Any) -> list[Any]:
    return [leaf for held in value.values() for leaf in _leaves(held)] if isinstance(value, Mapping) else [value]


def test_a_state_that_a_checkpoint_cannot_hold_is_refused_when_it_is_written(tmp_path: Path) -> None:
    rule = SinglePathWith(lambda: {"held": [np.zeros(3)]})
    with pytest.raises(
        HwnasError, match=r"SinglePathWith\['held'\]\[0\] must be a tensor or a plain value, got ndarray"
    ):
        train(WeightSharing(SPACE), rule, DATA, ONCE, tmp_path / "checkpoint.pt")


class SinglePathWith(SinglePath):
    """A rule of this state."""

    def __init__(self, state: Any) -> None:
        super().__init__(SPACE)
        self.state, self.load = state, lambda state: None


def test_another_rules_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    checkpoint, schedule = tmp_path / "checkpoint.pt", Schedule(epochs=2, batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        train(WeightSharing(SPACE), SinglePath(SPACE), DATA, schedule, checkpoint, "a", cut_at(7))
    with pytest.raises(HwnasError, match=r"checkpoint\.pt does not hold this rule's state"):
        train(WeightSharing(SPACE), Counting(), DATA, schedule, checkpoint, "a")


class Two(nn.Module):
    """A net of two numbers, and a rule's two groups over them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))


class Joint:
    """One backward pass of a * b that steps both groups, `b` by an optimiser of its own; `a` is frozen at first."""

    def __init__(self, warm_up: int = 0) -> None:
        self.warm_up, self.seen = warm_up, list[tuple[float, float]]()

    def groups(self, net: Any) -> Mapping[str, list[nn.Parameter]]:
        return {"a": [net.a], "b": [net.b]}

    def optimiser(self, group: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer | None:
        return torch.optim.SGD([{"params": parameters, "clip": math.inf}], lr=0.5) if group == "b" else None

    def steps(self, net: Any, batch: Batch) -> Iterator[tuple[str | tuple[str, ...], tuple[Tensor, ...]]]:
        groups = "b" if batch.step < self.warm_up else ("a", "b")
        yield groups, (100 * net.a * net.b,)
        self.seen.append((net.a.item(), net.b.item()))


def test_one_backward_pass_steps_several_groups_each_by_its_own_optimiser() -> None:
    net, rule = Two(), Joint()
    optimisers = optimisers_of(net, rule, ONCE)
    batch = Batch({}, torch.zeros(1))
    step(net, rule, batch, optimisers, 0.01, replace(ONCE, weight_decay=0.0))
    # b: SGD on the whole gradient 100, at its own rate. a: AdamW's first step is the schedule's rate.
    assert net.b.item() == pytest.approx(1 - 0.5 * 100) and net.a.item() == pytest.approx(1 - 0.01, abs=1e-4)
    assert rule.seen == [(net.a.item(), net.b.item())], "what stands after a yield runs after that step"
    assert optimisers["b"].param_groups[0]["lr"] == 0.5, "the loop leaves a rule's own rate alone"


def test_a_group_that_is_not_yielded_is_frozen_and_gathers_no_gradient() -> None:
    net, rule, free = Two(), Joint(warm_up=3), replace(ONCE, clip=math.inf)
    optimisers = optimisers_of(net, rule, ONCE)
    for i in range(3):
        step(net, rule, Batch({}, torch.zeros(1), i), optimisers, 0.01, free)
    assert net.a.item() == 1.0
    before = net.b.item()
    step(net, rule, Batch({}, torch.zeros(1), 3), optimisers, 0.01, free)
    assert net.a.item() != 1.0 and net.a.grad is not None and net.a.grad.item() == pytest.approx(100 * before)


def test_the_halves_are_disjoint_of_equal_size_and_of_every_class() -> None:
    first, second = halves(DATA, seed=3)
    assert len(first) == len(second) == 48 and len(set(first) | set(second)) == 96
    labels = DATA.targets("train")
    for half in (first, second):
        counts = np.bincount(labels[half])
        assert counts.max() - counts.min() <= 2
    assert not np.array_equal(first, halves(DATA, seed=4)[0])


def test_held_out_batches_are_of_the_other_half_and_the_same_when_resumed() -> None:
    split, schedule = halves(DATA, 0), Schedule(epochs=3, batch_size=16, shift=1)
    whole = list(draws(48, schedule, split=split))
    later = list(draws(48, schedule, 1, split))
    assert len(whole) == 9 and [d.step for d in later] == [d.step for d in whole[3:]]
    for draw in whole:
        assert draw.held_out is not None and set(draw.indices) <= set(split[0])
        assert set(draw.held_out.indices) <= set(split[1]) and draw.held_out.step == draw.step
    for one, other in zip(whole[3:], later, strict=True):
        assert np.array_equal(one.indices, other.indices)
        assert np.array_equal(one.held_out.indices, other.held_out.indices)  # type: ignore[union-attr]
        assert np.array_equal(one.held_out.augment.shifts, other.held_out.augment.shifts)  # type: ignore[union-attr]
    orders = [np.concatenate([d.held_out.indices for d in whole[i : i + 3]]) for i in (0, 3)]  # type: ignore[union-attr]
    assert not np.array_equal(*orders) and set(orders[0]) == set(orders[1]) == set(split[1])


def test_a_rule_that_does_not_ask_sees_all_examples_and_no_held_out_batch() -> None:
    seen = list[Batch]()

    class Looking(SinglePath):
        def steps(self, net: Any, batch: Batch) -> Iterator[tuple[str, Any]]:
            seen.append(batch)
            yield from super().steps(net, batch)

    train(WeightSharing(SPACE), Looking(SPACE), DATA, Schedule(epochs=2, batch_size=32))
    assert len(seen) == 6 and all(batch.held_out is None for batch in seen)
    assert [batch.progress for batch in seen] == pytest.approx([i / 6 for i in range(6)])


def test_old_checkpoints_hold_no_rule_and_are_read(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    train(WeightSharing(SPACE), SinglePath(SPACE), DATA, ONCE, checkpoint, "a")
    assert set(load_state(checkpoint)) == {"identity", "epoch", "net", "optimisers"}
