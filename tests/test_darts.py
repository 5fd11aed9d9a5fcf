"""DARTS: both gradients against finite differences, whose batch and whose turn it is, what it picks and refuses."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwnas.batches import halves
from hwnas.data import Raw, prepare
from hwnas.errors import HwnasError
from hwnas.methods.decoder.perturbation import _Slower
from hwnas.methods.rule import darts
from hwnas.methods.rule.darts import Darts
from hwnas.network import Operator
from hwnas.protocols import Batch, OwnOptimiser, OwnRate, Picks, Stateful
from hwnas.space import Choice, Mix, SearchSpace, Slot
from hwnas.spaces.nas_bench_201 import nas_bench_201
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import WeightSharing, extract
from hwnas.tasks.classify import Classify
from hwnas.train import Schedule, optimisers_of, set_rates, step, train

ONCE = Schedule(epochs=1, batch_size=16, warmup=2)


def cells(width: int = 4) -> SearchSpace:
    """A tiny NAS-Bench-201: three operations an edge."""
    return nas_bench_201(1, 4, width, 1, (8, 8), ("skip_connect", "nor_conv_1x1", "avg_pool_3x3"), affine=False)


class Bilevel(nn.Module):
    """w (3,) through a mix of three functions of it: nothing is linear, so that second derivatives matter."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.3, -0.7, 0.5], dtype=torch.float64))

    def forward(self, x: Tensor, selection: Any) -> Tensor:
        first, second = (selection[name].weights for name in ("a", "b"))
        hidden = first[0] * torch.tanh(x * self.w) + first[1] * (x * self.w) ** 2 + first[2] * torch.sin(x + self.w)
        return (second[0] * hidden + second[1] * hidden * self.w).sum(1)


@dataclass(frozen=True)
class Squares(Classify):
    """The mean square error, as a loss for the toy."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs - targets) ** 2).mean()


def toy_space() -> SearchSpace:
    """Two choices without a slot that reads them, and one slot so that the space lowers to something."""
    choices = (Choice("a", (0, 1, 2)), Choice("b", (0, 1)))
    shape = (1, 4, 4)
    relu = Slot("relu", (), lambda values: Operator.of("relu", shape, shape))
    return SearchSpace("toy", choices, (relu,), 1, 2)


def toy(order: int) -> tuple[Bilevel, Darts, Batch, dict[str, Any]]:
    rule, net = Darts(toy_space(), task=Squares(), order=order, weights_rate=0.2), Bilevel()
    rng = torch.Generator().manual_seed(1)
    draw = [0.3 * torch.randn(16, 3, generator=rng, dtype=torch.float64) for _ in range(2)]
    goals = [torch.randn(16, generator=rng, dtype=torch.float64) for _ in range(2)]
    batch = Batch({"x": draw[0]}, goals[0], 4, 0.25, Batch({"x": draw[1]}, goals[1], 4, 0.25))
    optimisers = optimisers_of(net, rule, ONCE)
    for alpha in rule.alpha.values():
        alpha.data += torch.randn(len(alpha), generator=rng, dtype=torch.float64)
    return net, rule, batch, optimisers


def gradient_of(rule: Darts, net: Bilevel, batch: Batch) -> np.ndarray:
    """What the rule back-propagates into alpha."""
    for alpha in rule.alpha.values():
        alpha.grad = None
    group, losses = next(iter(rule.steps(net, batch)))
    assert group == "alpha"
    for loss in losses:
        loss.backward()
    return torch.cat([alpha.grad for alpha in rule.alpha.values()]).numpy()


def differences_of(rule: Darts, objective: Any, width: float = 1e-5) -> np.ndarray:
    """Central differences of a function of alpha."""
    found = []
    for alpha in rule.alpha.values():
        for i in range(len(alpha)):
            ends = []
            for sign in (1, -1):
                alpha.data[i] += sign * width
                ends.append(float(torch.as_tensor(objective(), dtype=torch.float64).detach()))
                alpha.data[i] -= sign * width
            found.append((ends[0] - ends[1]) / (2 * width))
    return np.array(found)


def unrolled(rule: Darts, net: Bilevel, batch: Batch, optimisers: dict[str, Any], rate: float | None = None) -> float:
    """L_val(w', alpha), w' written out by hand from the paper's code: momentum and decay included."""
    rate = rule.rate("weights", 0.25, 0) if rate is None else rate
    loss = rule.task.loss(net(batch.given, rule.mixture()), batch.targets)
    (descent,) = torch.autograd.grad(loss, [net.w])
    momentum = optimisers["weights"].state.get(net.w, {}).get("momentum_buffer", torch.zeros(3))
    moved = net.w.detach() - rate * (0.9 * momentum + descent + 3e-4 * net.w.detach())
    kept, net.w.data = net.w.data, moved
    held = batch.held_out
    assert held is not None
    value = float(rule.task.loss(net(held.given, rule.mixture()), held.targets).detach())
    net.w.data = kept
    return value


def test_the_first_order_gradient_is_that_of_the_held_out_loss() -> None:
    net, rule, batch, _ = toy(1)
    held = batch.held_out
    assert held is not None
    wanted = differences_of(rule, lambda: rule.task.loss(net(held.given, rule.mixture()), held.targets))
    np.testing.assert_allclose(gradient_of(rule, net, batch), wanted, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("steps", [0, 2])
def test_the_second_order_gradient_is_that_of_the_held_out_loss_after_a_step_of_the_weights(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two steps there is a momentum to unroll with."""
    net, rule, batch, optimisers = toy(2)
    for _ in range(steps):
        step(net, rule, batch, optimisers, 0.1, ONCE)
    set_rates(rule, optimisers, 0.1, batch.progress)
    before = net.w.detach().clone()
    wanted = differences_of(rule, lambda: unrolled(rule, net, batch, optimisers))
    found = gradient_of(rule, net, batch)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    monkeypatch.setattr(darts, "EPSILON", darts.EPSILON / 10)
    finer = np.abs(gradient_of(rule, net, batch) - wanted).max()
    assert finer < 0.02 * np.abs(found - wanted).max(), "a tenth of the width, a hundredth of the error"
    rule.order = 1
    first = gradient_of(rule, net, batch)
    assert np.abs(first - wanted).max() > 100 * np.abs(found - wanted).max(), "the second term is not nothing"
    assert torch.equal(net.w, before), "the weights are put back"


def test_what_is_unrolled_is_the_step_that_is_taken_at_a_lowered_rate_too() -> None:
    """A decoder tunes by the same rule at a tenth of its rates: xi is that tenth."""
    net, rule, batch, _ = toy(2)
    slower = _Slower(rule)
    optimisers = optimisers_of(net, slower, ONCE)
    set_rates(slower, optimisers, 0.1, batch.progress)
    tenth = rule.rate("weights", 0.25, 0) / 10
    wanted = differences_of(rule, lambda: unrolled(rule, net, batch, optimisers, tenth))
    whole = differences_of(rule, lambda: unrolled(rule, net, batch, optimisers))
    found = gradient_of(rule, net, batch)
    assert np.abs(found - wanted).max() < 1e-2 * np.abs(whole - wanted).max()


def test_rates_are_set_before_the_rule_is_asked_for_its_first_loss() -> None:
    net, rule, batch, optimisers = toy(2)
    seen = []

    class Watching(Squares):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            seen.append(optimisers["weights"].param_groups[0]["lr"])
            return super().loss(outputs, targets)

    rule.task = Watching()
    step(net, rule, batch, optimisers, 0.1, ONCE)
    assert set(seen) == {rule.rate("weights", batch.progress, 0)} != {rule.bilevel.weights_rate}


def test_alpha_is_stepped_first_on_the_held_out_batch_and_the_weights_on_the_other() -> None:
    net, rule, batch, _ = toy(1)
    seen = []

    class Watching(Squares):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            seen.append(targets)
            return super().loss(outputs, targets)

    rule.task = Watching()
    groups = [(group, [loss.backward() for loss in losses])[0] for group, losses in rule.steps(net, batch)]
    assert groups == ["alpha", "weights"] and batch.held_out is not None
    assert seen[0] is batch.held_out.targets and seen[1] is batch.targets


def test_the_optimisers_and_rates_are_the_papers() -> None:
    rule = Darts(cells())
    made = optimisers_of(WeightSharing(cells()), rule, ONCE)
    (weights,), (alpha,) = (made[group].param_groups for group in ("weights", "alpha"))
    assert (weights["lr"], weights["momentum"], weights["weight_decay"]) == (0.025, 0.9, 3e-4)
    assert (alpha["lr"], alpha["betas"], alpha["weight_decay"], alpha["clip"]) == (3e-4, (0.5, 0.999), 1e-3, math.inf)
    assert rule.rate("weights", 0.0, 9) == 0.025 and rule.rate("weights", 0.5, 9) == pytest.approx(0.013)
    assert isinstance(rule, OwnOptimiser) and isinstance(rule, OwnRate) and isinstance(rule, Stateful | Picks)


def test_alphas_are_shared_by_all_cells_and_the_pick_is_their_largest() -> None:
    space = cells()
    rule = Darts(space)
    assert set(rule.alpha) == {name for name in space.by_name if name.startswith("edge.")}
    assert all(float(alpha.detach().abs().max()) < 0.01 for alpha in rule.alpha.values()), "1e-3 times a normal draw"
    for i, alpha in enumerate(rule.alpha.values()):
        alpha.data[i % 3] = 1.0
    pick = rule.pick()
    for i, choice in enumerate(rule.relaxed):
        assert pick[choice.name] == choice.options[i % 3]
    extract(WeightSharing(space), pick)


def test_darts_learns_to_prefer_what_lowers_the_held_out_loss() -> None:
    """Classes are told by a pattern of a few pixels: edges that only pass on or blur see less of it."""
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 4
    images = rng.normal(size=(160, 1, 8, 8)) * 0.3
    for i, label in enumerate(labels):
        images[i, 0, 2 * (label // 2) : 2 * (label // 2) + 2, 2 * (label % 2) : 2 * (label % 2) + 2] += [
            [1, -1],
            [-1, 1],
        ]
    data = prepare(Raw("patterns", images, labels, tuple("0123"), np.repeat([0, 1, 2], [152, 4, 4])))
    rule = Darts(cells(), alpha_rate=0.05)
    net = WeightSharing(cells())
    before = {name: alpha.detach().clone() for name, alpha in rule.alpha.items()}
    held = data.batch("train", halves(data, 0)[1])

    def loss() -> float:
        with torch.no_grad():
            return float(rule.task.loss(net(held.given, rule.mixture()), held.targets))

    start = loss()
    train(net, rule, data, Schedule(epochs=4, batch_size=19))
    assert loss() < start
    assert all((alpha.detach() - before[name]).abs().max() > 0.05 for name, alpha in rule.alpha.items())


@pytest.mark.parametrize(
    ("relax", "name"), [(None, r"\w+\.width of space 'resnet_binary'"), (["resolution"], "resolution of space")]
)
def test_a_choice_of_widths_or_resolutions_is_refused_before_training(relax: list[str] | None, name: str) -> None:
    space = resnet_binary(1, 4, (8, 12), 8, 2, ((8, 16),), (1, 2), (2,), (3,))
    with pytest.raises(HwnasError, match=f"{name}.* cannot be mixed") as refused:
        Darts(space, relax=relax)
    assert "picked hard" in str(refused.value)


def test_a_relaxed_space_lowers_to_options_and_mixes() -> None:
    space = cells()
    network = space.lower(Darts(space).mixture())
    mixes = [node for node in network if node.is_mix]
    sums = [float(sum(node.weights).detach()) for node in mixes]
    assert len(sums) == 6 * 3 and sums == pytest.approx([1.0] * len(sums), abs=1e-6)


def test_a_held_out_batch_is_required_by_darts() -> None:
    net, rule, batch, _ = toy(1)
    with pytest.raises(HwnasError, match="needs a held-out batch"):
        next(iter(rule.steps(net, replace(batch, held_out=None))))


def test_mixes_are_applied_as_given() -> None:
    net, space = WeightSharing(cells()), cells()
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    values = dict(space.largest())
    edge = "edge.0-1"
    options = space.by_name[edge].options
    hard = {i: net(x, {**values, edge: option}) for i, option in enumerate(options)}
    soft = net(x, {**values, edge: Mix(options, (0.0, 1.0, 0.0))})
    torch.testing.assert_close(soft, hard[1])
