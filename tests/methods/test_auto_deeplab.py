"""Auto-DeepLab's rule: what leaves a node sums to 1, gradients reach every weight, the architecture waits, and learns
from what is held out."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.data import load_data
from hwnas.errors import HwnasError
from hwnas.methods.rule.auto_deeplab import AutoDeepLab
from hwnas.network import INPUT
from hwnas.protocols import Batch
from hwnas.space import Mix, SearchSpace
from hwnas.spaces.auto_deeplab import Trellis, auto_deeplab, edge_name, end_name, stride_name
from hwnas.spaces.nas_bench_201 import nas_bench_201
from hwnas.supernet import WeightSharing
from hwnas.tasks.segment import Segment
from hwnas.testing import contract
from hwnas.train import Schedule, optimisers_of, step, train

SPACE = auto_deeplab(3, 4, (16, 16), layers=3, strides=(2, 4, 8), width=2)
TRELLIS = Trellis.of(SPACE)
ONCE = Schedule(epochs=1, batch_size=4)


def rule_of(seed: int = 0, **settings: Any) -> AutoDeepLab:
    return AutoDeepLab(SPACE, Segment(), seed, **settings)


def weights_of(rule: AutoDeepLab) -> dict[str, float]:
    """The weight of every edge and end."""
    given = rule.mixture().items()
    return {
        name: float(mix.weights[0].detach()) for name, mix in given if isinstance(mix, Mix) and len(mix.options) == 1
    }


def batch(progress: float = 0.0, held_out: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images, maps = (
        torch.randn(2, 4, 3, 16, 16, generator=generator),
        torch.randint(0, 4, (2, 4, 16, 16), generator=generator),
    )
    held = Batch({INPUT: images[1]}, maps[1]) if held_out else None
    return Batch({INPUT: images[0]}, maps[0], 0, progress, held)


def of_space(space: SearchSpace, seed: int = 0) -> AutoDeepLab:
    return AutoDeepLab(space, Segment(), seed, search_from=0.0)


test_the_rule = contract("rule", of_space, space=SPACE, batch=lambda step: replace(batch(), step=step))


def test_the_weights_that_leave_a_node_sum_to_one_and_so_do_those_of_the_ends() -> None:
    rule = rule_of()
    with torch.no_grad():
        for beta in rule.beta.values():
            beta.copy_(torch.randn(beta.shape, generator=torch.Generator().manual_seed(len(beta))))
    found = weights_of(rule)
    for layer, source in {(layer, source) for layer, source, _ in TRELLIS.edges()}:
        leaving = [found[edge_name(layer, source, t)] for t in TRELLIS.targets(layer - 1, source)]
        assert sum(leaving) == pytest.approx(1.0)
    assert sum(found[end_name(stride)] for stride in TRELLIS.strides) == pytest.approx(1.0)


def test_an_end_weighs_what_all_paths_to_it_weigh_together() -> None:
    rule = rule_of()
    with torch.no_grad():
        for i, beta in enumerate(rule.beta.values()):
            beta.copy_(torch.linspace(-1.0, 1.0, len(beta)) * i)
    found = weights_of(rule)
    ends = dict.fromkeys(TRELLIS.strides, 0.0)
    for path in itertools.product(TRELLIS.strides, repeat=3):
        steps = list(itertools.pairwise((2, *path)))
        if all(edge_name(i + 1, a, b) in found for i, (a, b) in enumerate(steps)):
            ends[path[-1]] += math.prod(found[edge_name(i + 1, *s)] for i, s in enumerate(steps))
    for stride, weight in ends.items():
        assert found[end_name(stride)] == pytest.approx(weight, rel=1e-5)
    last = rule.mixture()[stride_name(3)]
    assert isinstance(last, Mix) and last.weights.tolist() == pytest.approx(list(ends.values()), rel=1e-5)


def test_every_alpha_and_beta_has_a_gradient_and_it_is_the_slope_of_the_loss() -> None:
    rule, net = rule_of(), WeightSharing(SPACE).double()
    rule.groups(net)
    given = batch()
    given = Batch({INPUT: given.images.double()}, given.targets)

    def loss() -> torch.Tensor:
        return rule._loss(net, given)

    loss().backward()
    for name, parameter in {**rule.alpha, **rule.beta}.items():
        assert parameter.grad is not None and bool((parameter.grad != 0).all()), name
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[0] += sign * 1e-4
                sides.append(float(loss()))
                parameter[0] -= sign * 1e-4
        assert float(parameter.grad[0]) == pytest.approx((sides[0] - sides[1]) / 2e-4, rel=1e-3, abs=1e-7), name


def test_the_architecture_waits_until_search_from_and_then_steps_on_the_held_out_batch() -> None:
    rule, net = rule_of(search_from=0.5), WeightSharing(SPACE)
    optimisers = optimisers_of(net, rule, ONCE)
    before = {name: value.clone() for name, value in rule.beta.items()}
    step(net, rule, batch(0.49), optimisers, 0.0, ONCE)
    assert all(torch.equal(before[name], value) for name, value in rule.beta.items())
    early, late = ([group for group, _ in rule.steps(net, batch(progress))] for progress in (0.49, 0.5))
    assert early == ["weights"] and late == ["architecture", "weights"]
    for (_, losses), seen in zip(rule.steps(net, batch(0.5)), (batch().held_out, batch()), strict=True):
        assert seen is not None
        with torch.no_grad():
            expected = Segment().loss(net(seen.images, rule.mixture()), seen.targets)
            torch.testing.assert_close(next(iter(losses)), expected)
    step(net, rule, batch(0.5), optimisers, 0.0, ONCE)
    assert not any(torch.equal(before[name], value) for name, value in rule.beta.items())


def test_a_step_of_the_architecture_leaves_the_weights_alone() -> None:
    rule, net = rule_of(search_from=0.0), WeightSharing(SPACE)
    optimisers = optimisers_of(net, rule, ONCE)
    before = [p.detach().clone() for p in net.parameters()]
    steps = rule.steps(net, batch())
    group, losses = next(steps)
    for loss in losses:
        loss.backward()
    optimisers[group].step()
    assert group == "architecture"
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_the_state_is_all_that_another_rule_needs() -> None:
    one, other = rule_of(1), rule_of(2)
    other.load(one.state())
    for mine, yours in zip(one.mixture().items(), other.mixture().items(), strict=True):
        assert str(mine) == str(yours)


def test_rates_fall_by_half_a_cosine_for_the_weights_alone() -> None:
    rule = rule_of()
    assert rule.rate("weights", 0.0, 1.0) == 0.025 and rule.rate("weights", 0.5, 1.0) == pytest.approx(0.013)
    assert rule.rate("architecture", 0.0, 1.0) == rule.rate("architecture", 0.9, 1.0) == 3e-3


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: rule_of(search_from=1.0), "search_from must be a share"),
        (lambda: AutoDeepLab(nas_bench_201(3, 4, image_size=(8, 8)), Segment()), "no trellis"),
        (lambda: AutoDeepLab(SPACE.restrict({"stride.*": [2, 8]}), Segment()), "needs 'edge.1.2-4'"),
    ],
)
def test_what_it_cannot_relax_is_refused_before_training(make: Any, told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        make()


def test_without_a_held_out_batch_it_says_so() -> None:
    with pytest.raises(HwnasError, match="held-out batch"):
        list(rule_of().steps(WeightSharing(SPACE), batch(held_out=False)))


@pytest.mark.slow
def test_searching_digits_on_photographs_lowers_the_loss() -> None:
    data = load_data({"use": "pasted_digits", "train": 64, "validation": 8, "test": 8})
    space = auto_deeplab(**data.facts, layers=2, strides=(4, 8), width=4)
    net, rule = WeightSharing(space), AutoDeepLab(space, Segment(), search_from=0.25)
    given = data.batch("train", np.arange(32))

    def loss() -> float:
        with torch.no_grad():
            return float(Segment().loss(net(given.images, rule.mixture()), given.targets))

    before, beta = loss(), {name: value.detach().clone() for name, value in rule.beta.items()}
    train(net, rule, data, Schedule(epochs=8, batch_size=16))
    assert loss() < before
    assert not any(torch.equal(beta[name], value) for name, value in rule.beta.items())
