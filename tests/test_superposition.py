"""Mixed weights: a mix of weight one is the hard net; masks and a layer by hand; what a pass costs; what is a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hwnas import ops
from hwnas.errors import HwnasError
from hwnas.methods.rule._entangled import is_part
from hwnas.methods.rule._superposition import Superposition, product
from hwnas.network import Operator
from hwnas.space import Architecture, Choice, SearchSpace, Slot
from hwnas.spaces.flexibert import flexibert
from hwnas.spaces.keywords import keywords
from hwnas.spaces.preprocess import reading_pixels
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import WeightSharing, leading
from tests.entangled import one_hot, some, superposition, tiny

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


def test_preprocessing_inside_of_the_network_is_left_as_it_is() -> None:
    space = reading_pixels(tiny(resolutions=[6]), (12, 10))
    mixed, net = superposition(space), WeightSharing(space)
    x = torch.randn(3, 1, 12, 10, generator=torch.Generator().manual_seed(4))  # training sees floats
    with torch.no_grad():
        for architecture in some(space, mixed, 3):
            soft = mixed(net, x, one_hot(mixed, architecture, torch.float32))
            torch.testing.assert_close(soft, net(x, architecture), rtol=1e-4, atol=1e-4)


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
