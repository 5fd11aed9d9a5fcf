"""TangleNAS: what is mixed and how, that a hard mix is the hard net, gradients, cost, state, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hwnas import ops
from hwnas.data import Raw, prepare
from hwnas.errors import HwnasError
from hwnas.methods.decoder.argmax import Argmax
from hwnas.methods.rule._entangled import is_part
from hwnas.methods.rule._superposition import Superposition, product
from hwnas.methods.rule.tanglenas import TangleNas, dirichlet, sparsemax
from hwnas.methods.wrapper.few_shot import FewShot
from hwnas.network import Operator
from hwnas.protocols import Batch, Mixes, NeedsHeldOut, OwnOptimiser, OwnRate, Picks, Stateful
from hwnas.space import Architecture, Choice, SearchSpace, Slot
from hwnas.spaces.auto_deeplab import auto_deeplab
from hwnas.spaces.flexibert import flexibert
from hwnas.spaces.keywords import keywords
from hwnas.spaces.mobile import mobile
from hwnas.spaces.nas_bench_201 import nas_bench_201
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import WeightSharing, extract, leading
from hwnas.testing import contract
from hwnas.train import Schedule, optimisers_of, step, train


def tiny(**settings: Any) -> SearchSpace:
    """Two stages of one or two inverted residuals on images (1, 8, 8) of four classes, every kind of choice open."""
    given: dict[str, Any] = {"in_channels": 1, "classes": 4, "resolutions": [8], "stem_width": 6, "stem_stride": 1}
    given |= {"widths": [[8, 12], [14, 18]], "depths": [1, 2], "strides": [2, 1], "precisions": ["fp32"]}
    given |= {"kernels": [3, 5], "expansions": [2, 3]}
    return mobile(**(given | settings))


SPACES = {
    "mobile": lambda: tiny(),
    "three kernels and widths, expansion 1": lambda: tiny(
        widths=[[8, 12, 16], [16, 24]], kernels=[3, 5, 7], expansions=[1, 2, 4]
    ),
    "widths that decide over a shortcut": lambda: tiny(widths=[[6, 12], [6, 12]], strides=[1, 1], last_width=10),
    "resnet_binary": lambda: resnet_binary(1, 4, (8,), 8, 2, ((8, 16), (16, 24)), (1, 2), (1, 2), (3, 5)),
    "keywords": lambda: keywords(4, 2000, 8000, widths=((8, 12), (12, 16)), depths=(1, 2), stem_width=8),
}
TEXT = flexibert(3, 30, 6, depths=(1, 2), widths=(8, 12), heads=(1, 2), hidden=(8, 12), stacks=(1, 2))


def superposition(space: SearchSpace, names: list[str] | None = None) -> Superposition:
    """Of all choices of the architecture that have several options, or of these."""
    chosen = [c for c in space.choices if len(c.options) > 1 and (c.name in (names or ()) or c.role == "architecture")]
    return Superposition(space, [c for c in chosen if names is None or c.name in names])


def one_hot(mixed: Superposition, architecture: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    found = {c.name: torch.zeros(len(c.options), dtype=dtype) for c in mixed.choices}
    for choice in mixed.choices:
        found[choice.name][choice.options.index(architecture[choice.name])] = 1.0
    return found


def some(space: SearchSpace, mixed: Superposition, count: int) -> list[Architecture]:
    """The ends and random architectures; what is not mixed as in the largest."""
    rng, base = np.random.default_rng(0), space.largest()
    drawn = [space.smallest(), space.largest(), *(space.random(rng) for _ in range(count))]
    return [space.architecture({**base, **{c.name: one[c.name] for c in mixed.choices}}) for one in drawn]


@pytest.mark.parametrize("name", SPACES)
def test_a_mix_of_weight_one_is_the_hard_network(name: str) -> None:
    """In float64, up to the order of sums (a longer sum of zeros), whatever is chosen."""
    space = SPACES[name]()
    mixed, net = superposition(space), WeightSharing(space).double()
    x = torch.randn(3, *mixed.network.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for architecture in some(space, mixed, 15):
            soft = mixed(net, x, one_hot(mixed, architecture, torch.float64))
            torch.testing.assert_close(soft, net(x, architecture), rtol=1e-11, atol=1e-11)


def test_every_option_of_every_choice_of_the_mobile_space_is_reached_by_a_mix_of_weight_one() -> None:
    space = SPACES["three kernels and widths, expansion 1"]()
    mixed, net = superposition(space), WeightSharing(space).double()
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    outputs = set()
    with torch.no_grad():
        for choice in mixed.choices:
            for option in choice.options:
                one = space.architecture({**space.largest(), choice.name: option})
                soft = mixed(net, x, one_hot(mixed, one, torch.float64))
                torch.testing.assert_close(soft, net(x, one), rtol=1e-11, atol=1e-11)
                outputs.add(round(float(soft[0, 0]), 9))
    assert len(outputs) == 1 + sum(len(choice.options) - 1 for choice in mixed.choices), "each gives something else"


def test_an_encoder_mixes_feed_forward_widths_by_weights_and_all_that_a_norm_reads_by_outputs() -> None:
    mixed, net = superposition(TEXT), WeightSharing(TEXT)
    tokens = torch.randint(1, 30, (4, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for architecture in some(TEXT, mixed, 10):
            soft = mixed(net, tokens, one_hot(mixed, architecture, torch.float32))
            torch.testing.assert_close(soft, net(tokens, architecture), rtol=1e-4, atol=1e-5)
    place = mixed.places["l1.mlp1"]
    assert "l1.width" in place.choices and all(run.entangled == ("l1.hidden1",) for run in place.runs)


def test_two_widths_and_two_kernels_by_hand() -> None:
    """An inverted residual and the classifier: W = sum p pad0(W_i), norms alike, p of the width at both ends."""
    space = tiny(widths=[[8, 12]], depths=[1], strides=[2], expansions=[2], squeeze_excite=[False])
    names = ["s0.width", "s0.b0.kernel"]
    mixed, net = superposition(space, names), WeightSharing(space).double()
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    width, kernel = (torch.tensor(p, dtype=torch.float64) for p in ([0.3, 0.7], [0.6, 0.4]))
    stem, block, head = (_tensors(net, name) for name in ("stem", "s0.b0", "head"))

    def norm(y: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return F.batch_norm(y, None, None, gamma, beta, True, 0.1, 1e-5)

    def padded(part: Tensor, shape: torch.Size) -> Tensor:
        whole = torch.zeros(shape, dtype=torch.float64)
        start = [(a - b) // 2 if axis >= 2 else 0 for axis, (a, b) in enumerate(zip(shape, part.shape, strict=True))]
        whole[tuple(slice(s, s + n) for s, n in zip(start, part.shape, strict=True))] = part
        return whole

    y = F.relu(norm(F.conv2d(x, stem["conv.weight"], padding=1), stem["conv.gamma"], stem["conv.beta"]))
    y = F.relu(norm(F.conv2d(y, block["expand.weight"]), block["expand.gamma"], block["expand.beta"]))
    centre = block["depthwise.weight"]
    depthwise = kernel[0] * padded(centre[:, :, 1:4, 1:4], centre.shape) + kernel[1] * centre
    y = F.conv2d(y, depthwise, stride=2, padding=2, groups=len(depthwise))
    y = F.relu(norm(y, block["depthwise.gamma"], block["depthwise.beta"]))
    project, gamma, beta = (
        width[0] * padded(block[f"project.{n}"][:8], block[f"project.{n}"].shape) + width[1] * block[f"project.{n}"]
        for n in ("weight", "gamma", "beta")
    )
    y = norm(F.conv2d(y, project), gamma, beta).mean((2, 3))
    dense = head["dense.weight"]
    y = F.linear(y, width[0] * padded(dense[:, :8], dense.shape) + width[1] * dense, head["dense.bias"])
    found = mixed(net, x, dict(zip(names, (width, kernel), strict=True)))
    torch.testing.assert_close(found.detach(), y, rtol=1e-10, atol=1e-10)


def _tensors(net: WeightSharing, slot: str) -> dict[str, Tensor]:
    """The shared tensors of a slot by "<layer>.<parameter>"."""
    place = [one.name for one in net.space.slots].index(slot)
    found = {name: value.detach() for name, value in net.named_parameters() if name.startswith(f"stages.{place}.")}
    return {name.rpartition(":")[2].replace("/", "."): value for name, value in found.items()}


def test_the_weights_of_a_place_are_the_outer_product_of_its_choices() -> None:
    first, second = torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.3, 0.2])
    np.testing.assert_allclose(product([first, second]), np.outer(first, second).ravel(), rtol=1e-6)


def test_a_mask_is_the_sum_of_what_covers_each_element() -> None:
    """Against the definition, every combination by itself."""
    space = tiny(widths=[[8, 12, 16], [20, 24]], kernels=[3, 5, 7])
    mixed = superposition(space)
    rng = torch.Generator().manual_seed(3)
    weights = {c.name: torch.softmax(torch.randn(len(c.options), generator=rng), 0) for c in mixed.choices}
    (run, *_) = mixed.places["s1.b0"].runs
    assert set(run.entangled) == {"s0.width", "s1.width", "s1.b0.kernel", "s1.b0.expansion"}
    for name, mask in run.masks.items():
        wanted = torch.zeros(ops.parameters(run.operator)[name])
        for architecture in _combinations(space, run.architecture, run.entangled):
            operator = next(n.operator for n in space.lower(architecture) if n.name == "s1.b0")
            share = 1.0
            for choice in run.entangled:
                share = share * weights[choice][space.by_name[choice].options.index(architecture[choice])]
            leading(wanted, ops.parameters(operator)[name]).add_(share)
        got = mask(product([weights[choice] for choice in run.entangled])).expand(wanted.shape)
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def _combinations(space: SearchSpace, base: Architecture, names: tuple[str, ...]) -> list[Architecture]:
    found = [dict(base)]
    for name in names:
        found = [{**one, name: option} for one in found for option in space.by_name[name].options]
    return [space.architecture(one) for one in found]


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


def test_a_pass_runs_the_operators_of_one_largest_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all that is searched is entangled, or missing: as many multiplications, whatever the number of options."""
    space = tiny(kernels=[3, 5, 7], expansions=[2, 3, 4], widths=[[8, 10, 12], [14, 16, 18]], squeeze_excite=[False])
    mixed, net = superposition(space), WeightSharing(space)
    ran = list[Operator]()
    forward = ops.forward

    def counting(operator: Operator, *given: Any, **more: Any) -> Tensor:
        ran.append(operator)
        return forward(operator, *given, **more)

    monkeypatch.setattr(ops, "forward", counting)
    weights = {c.name: torch.full((len(c.options),), 1 / len(c.options)) for c in mixed.choices}
    mixed(net, torch.zeros(2, 1, 8, 8), weights)
    largest = space.lower(space.largest()).operators
    assert sum(map(ops.macs, ran)) == sum(map(ops.macs, largest)) and tuple(ran) == largest
    assert [run.operator for run in mixed.runs] == ran


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


def test_options_of_other_spatial_sizes_are_refused() -> None:
    def build(values: Mapping[str, Any]) -> Operator:
        side = 8 // values["stride"]
        return Operator.of(
            "conv_bn_act", (1, 8, 8), (4, side, side), kernel=3, stride=values["stride"], activation="relu"
        )

    choice = Choice("stride", (1, 2))
    space = SearchSpace("strides", (choice,), (Slot("conv", ("stride",), build),), 1, 4)
    with pytest.raises(HwnasError, match=r"conv: outputs of shapes \(4, 4, 4\), \(4, 8, 8\) cannot be mixed"):
        Superposition(space, [choice])


def test_a_supernet_with_tensors_of_its_own_for_options_is_refused() -> None:
    space = tiny()
    split = FewShot(space, choice="s0.b0.kernel")(WeightSharing(space))
    with pytest.raises(HwnasError, match=r"s0.b0: the supernet has tensors of its own.*leave train.wrapper out"):
        TangleNas(space).groups(split)


def test_a_held_out_batch_is_required() -> None:
    space = tiny()
    with pytest.raises(HwnasError, match="needs a held-out batch"):
        next(iter(TangleNas(space).steps(WeightSharing(space), replace(_batch(), held_out=None))))


def test_a_part_is_told_from_what_only_has_smaller_tensors() -> None:
    """Channels and centred kernels of convolutions are parts; a norm over channels and the signs of weights are not."""
    shape = (8, 6, 6)

    def conv(channels: int, kernel: int, precision: str = "fp32", activation: str = "relu") -> Operator:
        return Operator.of(
            "conv_bn_act", shape, (channels, 6, 6), precision, kernel=kernel, stride=1, activation=activation
        )

    assert is_part(conv(4, 3), conv(8, 5)) and is_part(conv(8, 5), conv(8, 5))
    assert not is_part(conv(4, 3, activation="none"), conv(8, 5))
    rows, wide = (
        Operator.of("encoder_mlp", (6, width), (6, width), hidden=8, norm="post") for width in (8, 12)
    )  # fmt: skip
    assert not is_part(rows, wide)
    same, hidden = (Operator.of("encoder_mlp", (6, 8), (6, 8), hidden=h, norm="post") for h in (8, 12))
    assert is_part(same, hidden)


test_the_rule_keeps_the_contract_on_an_entangled_space = contract("rule", TangleNas, space=tiny(classes=10))
