"""TangleNAS: gradients and draws of alpha, what is stepped and picked, its state, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hwnas.data import Raw, prepare
from hwnas.errors import HwnasError
from hwnas.methods.decoder.argmax import Argmax
from hwnas.methods.rule.tanglenas import TangleNas, dirichlet, sparsemax
from hwnas.methods.wrapper.few_shot import FewShot
from hwnas.protocols import Batch, Mixes, NeedsHeldOut, OwnOptimiser, OwnRate, Picks, Stateful
from hwnas.spaces.auto_deeplab import auto_deeplab
from hwnas.spaces.nas_bench_201 import nas_bench_201
from hwnas.supernet import WeightSharing, extract
from hwnas.testing import contract
from hwnas.train import Schedule, optimisers_of, step, train
from tests.entangled import tiny


def test_a_width_has_one_alpha_in_all_places_that_read_it() -> None:
    space = tiny()
    rule = TangleNas(space)
    places = rule.superposition.places
    readers = [name for name, place in places.items() if any("s0.width" in run.entangled for run in place.runs)]
    assert readers == ["s0.b0", "s0.b1", "s1.b0"]
    assert sum(name.startswith("s0.width") for name in rule.alpha) == 1
    weights = rule.weights((0, 0))
    assert weights.keys() == rule.alpha.keys()


@pytest.mark.parametrize("weighting", ["softmax", "sparsemax"])
def test_the_gradient_of_alpha_is_that_of_finite_differences(weighting: str) -> None:
    space = tiny()
    rule, net = TangleNas(space, weighting=weighting), WeightSharing(space).double()
    rule.groups(net)
    batch = _batch(torch.float64)
    rng = torch.Generator().manual_seed(4)
    for alpha in rule.alpha.values():
        alpha.data = 0.2 * torch.randn(len(alpha), generator=rng, dtype=torch.float64)
    group, losses = next(iter(rule.steps(net, batch)))
    assert group == "alpha"
    for loss in losses:
        loss.backward()
    held = batch.held_out
    assert held is not None

    def objective() -> float:
        with torch.no_grad():
            return float(rule.task.loss(rule.superposition(net, held.given, rule.weights((0, 0))), held.targets))

    for name, alpha in rule.alpha.items():
        wanted = []
        for i in range(len(alpha)):
            ends = []
            for sign in (1, -1):
                alpha.data[i] += sign * 1e-6
                ends.append(objective())
                alpha.data[i] -= sign * 1e-6
            wanted.append((ends[0] - ends[1]) / 2e-6)
        assert alpha.grad is not None
        np.testing.assert_allclose(alpha.grad.numpy(), wanted, rtol=1e-4, atol=1e-8, err_msg=name)
        assert np.abs(wanted).max() > 1e-6, f"{name} matters"


def _batch(dtype: torch.dtype = torch.float32, count: int = 8) -> Batch:
    rng = torch.Generator().manual_seed(5)
    first, second = (
        Batch({"input": torch.randn(count, 1, 8, 8, generator=rng, dtype=dtype)}, torch.arange(count) % 4) for _ in "12"
    )
    return replace(first, held_out=second)


def test_a_dirichlet_draw_has_the_gradient_of_its_mean() -> None:
    """d E[p_0] / d alpha_j, E[p] = c / sum c, c = elu(alpha) + 1, over many draws."""
    alpha = torch.tensor([0.5, -0.4, 0.1], dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    total = sum(dirichlet(alpha)[0] for _ in range(4000)) / 4000
    assert isinstance(total, Tensor)
    (found,) = torch.autograd.grad(total, alpha)
    concentration = F.elu(alpha) + 1
    mean = (concentration / concentration.sum())[0]
    (wanted,) = torch.autograd.grad(mean, alpha)
    np.testing.assert_allclose(found, wanted, atol=0.02)
    assert float(total.detach()) == pytest.approx(float(mean.detach()), abs=0.02)


def test_sparsemax_is_the_nearest_point_of_the_simplex() -> None:
    np.testing.assert_allclose(sparsemax(torch.tensor([0.1, 0.1])), [0.5, 0.5])
    np.testing.assert_allclose(sparsemax(torch.tensor([2.0, 0.5, 0.0])), [1, 0, 0])
    np.testing.assert_allclose(sparsemax(torch.tensor([0.6, 0.4, -1.0])), [0.6, 0.4, 0], atol=1e-7)
    third = sparsemax(torch.tensor([0.5, 0.3, 0.3]))  # t = (0.5 + 0.3 + 0.3 - 1) / 3
    np.testing.assert_allclose(third, np.array([0.5, 0.3, 0.3]) - 0.1 / 3, atol=1e-6)


def test_draws_follow_from_seed_and_step_and_differ_between_alpha_and_weights() -> None:
    rule, again, other = (TangleNas(tiny(), seed=seed) for seed in (0, 0, 1))
    before = torch.random.get_rng_state()
    one = rule.weights((3, 0))
    assert torch.equal(torch.random.get_rng_state(), before), "torch's own generator is left alone"
    for name, drawn in one.items():
        assert float(drawn.detach().sum()) == pytest.approx(1.0, abs=1e-5)
        assert torch.equal(drawn, again.weights((3, 0))[name])
        for different in (other.weights((3, 0)), rule.weights((3, 1)), rule.weights((4, 0))):
            assert not torch.equal(drawn, different[name])


def test_training_moves_alpha_and_weights_and_the_pick_is_the_largest_alpha() -> None:
    space = tiny()
    rule, net = TangleNas(space, alpha_rate=0.05), WeightSharing(space)
    optimisers = optimisers_of(net, rule, Schedule(epochs=1, batch_size=8))
    before = {name: value.detach().clone() for name, value in [*rule.alpha.items(), *net.named_parameters()]}
    step(net, rule, _batch(), optimisers, 0.1, Schedule(epochs=1, batch_size=8))
    for name, value in [*rule.alpha.items(), *net.named_parameters()]:
        assert not torch.equal(value.detach(), before[name]), name
    for i, alpha in enumerate(rule.alpha.values()):
        alpha.data[i % len(alpha)] = 9.0
    pick = rule.pick()
    for i, choice in enumerate(rule.superposition.choices):
        assert pick[choice.name] == choice.options[i % len(choice.options)]
    assert Argmax(rule).decode(net, rule, space, lambda architectures: np.zeros(len(architectures))) == pick
    extract(net, pick)


def test_the_rule_is_all_that_the_loop_asks_for_and_no_mixture_that_a_space_could_not_lower() -> None:
    rule = TangleNas(tiny())
    for protocol in (OwnOptimiser, OwnRate, NeedsHeldOut, Stateful, Picks):
        assert isinstance(rule, protocol)
    assert not isinstance(rule, Mixes)


def test_a_training_that_is_cut_off_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    space, schedule = tiny(), Schedule(epochs=3, batch_size=16, shift=1)
    images = np.random.default_rng(0).normal(size=(102, 1, 8, 8))
    data = prepare(Raw("noise", images, np.arange(102) % 4, tuple("0123"), np.repeat([0, 1, 2], [96, 3, 3])))

    def stop(done: int, total: int, note: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    whole, cut, again = (TangleNas(space, alpha_rate=0.1) for _ in range(3))
    undisturbed = train(WeightSharing(space), whole, data, schedule).state_dict()
    with pytest.raises(KeyboardInterrupt):
        train(WeightSharing(space), cut, data, schedule, tmp_path / "c.pt", "a", stop)
    resumed = train(WeightSharing(space), again, data, schedule, tmp_path / "c.pt", "a").state_dict()
    assert all(torch.equal(value, undisturbed[name]) for name, value in resumed.items())
    assert all(torch.equal(whole.alpha[name], alpha) for name, alpha in again.alpha.items())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TangleNas(tiny(), weighting="sofmax"), "unknown weighting 'sofmax'"),
        (lambda: TangleNas(tiny(), relax=["*.kernle"]), r"'\*.kernle'"),
        (lambda: TangleNas(tiny(resolutions=[8, 12]), relax=["resolution"]), "resolution cannot be mixed"),
        (lambda: TangleNas(tiny(precisions=["fp32", "int8"]), relax=["*.precision"]), "precision cannot be mixed"),
        (lambda: TangleNas(tiny(), relax=["*.se"]), "no choice of space 'mobile' is entangled"),
        (lambda: TangleNas(nas_bench_201(1, 4, 4, 1, (8, 8))), "is entangled.*rule.darts mixes outputs"),
        (lambda: TangleNas(auto_deeplab(3, 4, (16, 16), layers=2, width=4)), "what it reads depends on a mix"),
    ],
)
def test_what_cannot_be_mixed_is_refused_in_one_line_before_training(make: Any, said: str) -> None:
    with pytest.raises(HwnasError, match=said) as refused:
        make()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("choice", ["s0.b0.kernel", "s0.width", "s1.depth", "s0.b1.se"])
def test_a_supernet_with_tensors_of_its_own_for_options_is_refused(choice: str) -> None:
    """Whether the split choice is mixed by weights or by outputs."""
    space = tiny()
    split = FewShot(space, choice=choice)(WeightSharing(space))
    with pytest.raises(HwnasError, match=r"the supernet has tensors of its own.*leave train.wrapper out"):
        TangleNas(space).groups(split)


def test_a_held_out_batch_is_required() -> None:
    space = tiny()
    with pytest.raises(HwnasError, match="needs a held-out batch"):
        next(iter(TangleNas(space).steps(WeightSharing(space), replace(_batch(), held_out=None))))


test_the_rule_keeps_the_contract_on_an_entangled_space = contract("rule", TangleNas, space=tiny(classes=10))
