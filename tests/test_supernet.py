"""The supernet: a selection is an argument, a hard one is the stand-alone net, and a call leaves no state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from hwnas import ops
from hwnas.errors import HwnasError
from hwnas.network import Network, Node, Operator, walk
from hwnas.protocols import Supernet
from hwnas.space import Choice, Mix, SearchSpace, Slot
from hwnas.spaces.mobile import mobile
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import WeightSharing, extract, mixture, recalibrate

SPACES = {
    "mobile": mobile(1, 10, (8, 16), 8, 1, ((8, 16), (16,)), (1, 2), (2, 1), (3, 5), (2, 4)),
    "resnet_binary": resnet_binary(1, 10, (8, 16), 8, 1, ((8, 16), (16, 32)), (1, 2), (1, 2), (3, 5)),
}
SAME = Operator.of("conv_bn_act", (1, 8, 8), (1, 8, 8), kernel=3, stride=1, activation="none")
IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=SPACES, ids=list(SPACES))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]


def paths(space: SearchSpace) -> list[dict[str, object]]:
    import numpy as np

    rng = np.random.default_rng(1)
    return [dict(a) for a in (space.smallest(), space.largest(), *(space.random(rng) for _ in range(6)))]


def test_a_hard_selection_gives_what_the_extracted_net_gives(space: SearchSpace) -> None:
    net = WeightSharing(space)
    assert isinstance(net, Supernet)
    for path in paths(space):
        alone = extract(net, path).train()  # type: ignore[arg-type]
        torch.testing.assert_close(alone(IMAGES), net(IMAGES, path), rtol=1e-4, atol=1e-5)


def test_running_the_nodes_one_after_another_is_the_net_and_a_call_changes_nothing(space: SearchSpace) -> None:
    net, path = WeightSharing(space), {**space.smallest(), "resolution": 8}
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = IMAGES
    for node in space.lower(path):
        x = ops.forward(node.operator, [x], net.tensors(node, path), training=True)
    assert torch.equal(x, net(IMAGES, path))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_hard_selection_has_the_parameters_of_the_stand_alone_net_and_trains_only_those(space: SearchSpace) -> None:
    net = WeightSharing(space)
    net(IMAGES, space.smallest()).sum().backward()
    touched = sum(int((p.grad != 0).sum()) for p in net.parameters() if p.grad is not None)
    assert 0 < touched <= sum(p.numel() for p in extract(net, space.smallest()).parameters())


def with_outputs(space: SearchSpace, outputs: tuple[str, ...]) -> SearchSpace:
    return replace(space, outputs=outputs)


def test_a_mix_is_the_weighted_sum_of_its_options() -> None:
    space = SPACES["mobile"]
    net = WeightSharing(space)
    hard = {**space.largest(), "resolution": 8, "s1.depth": 1}
    weights = torch.tensor([0.3, 0.9])  # as they are given: they need not sum to one
    one, other, mixed = (
        with_outputs(space, ("s1.b0",)).lower({**hard, "s1.b0.kernel": kernel})
        for kernel in (3, 5, Mix((3, 5), weights))
    )

    def run(network: Network) -> torch.Tensor:
        def node(each: Node, values: tuple[torch.Tensor, ...]) -> torch.Tensor:
            if each.is_mix:
                return mixture(each.weights, values)
            return ops.forward(each.operator, values, net.tensors(each, hard), training=True)

        return walk(network, node, {"x": IMAGES})[network.outputs[0]]

    torch.testing.assert_close(run(mixed), 0.3 * run(one) + 0.9 * run(other))


def test_an_option_where_nothing_stands_is_the_place_s_input_itself() -> None:
    def build(values: Mapping[str, Any]) -> Operator | None:
        return SAME if values["stands"] else None

    space = SearchSpace("toy", (Choice("stands", (False, True)),), (Slot("b", ("stands",), build),), 1, 1)
    net = WeightSharing(space)
    with_block = net(IMAGES, {"stands": True})
    soft = {"stands": Mix((False, True), torch.tensor([0.2, 0.7]))}
    torch.testing.assert_close(net(IMAGES, soft), 0.2 * IMAGES + 0.7 * with_block)
    alone = {"stands": Mix((False, True), (0, torch.tensor(0.5)))}
    torch.testing.assert_close(net(IMAGES, alone), 0.5 * with_block)
    assert [node.name for node in space.lower(alone)] == ["b/0", "b"], "an option of weight 0 is not run"


def test_a_mix_of_widths_is_refused() -> None:
    space = SPACES["resnet_binary"]
    soft = {**space.largest(), "s0.width": Mix((8, 16), torch.tensor([0.5, 0.5]))}
    with pytest.raises(HwnasError, match="pick widths and resolutions hard"):
        WeightSharing(space)(IMAGES, soft)


def test_recalibrated_statistics_are_those_of_the_images(space: SearchSpace) -> None:
    net = recalibrate(extract(WeightSharing(space), space.smallest()), [IMAGES])
    assert not net.training
    torch.testing.assert_close(net(IMAGES), net.train()(IMAGES), rtol=0.2, atol=0.2)
    with pytest.raises(HwnasError, match="at least one batch"):
        recalibrate(net, [])


def test_every_image_counts_alike_in_the_statistics_however_they_are_portioned(space: SearchSpace) -> None:
    def stem_mean(portions: list[torch.Tensor]) -> torch.Tensor:
        net = recalibrate(extract(WeightSharing(space), space.smallest()), portions)
        return next(buffer for name, buffer in net.named_buffers() if name.startswith("stem") and "mean" in name)

    images = torch.cat([IMAGES, 9 * torch.ones_like(IMAGES[:1])])
    torch.testing.assert_close(stem_mean([images[:-1], images[-1:]]), stem_mean([images]))


@pytest.mark.parametrize("make", [mobile, resnet_binary])
def test_images_that_are_not_square_keep_their_shape_from_supernet_to_stand_alone_net(
    make: Callable[..., SearchSpace],
) -> None:
    space = make(1, 4, (8, 12), 8, 2, ((8,), (16,)), (1, 2), (2, 1), (3,), image_size=(12, 20))
    images = torch.randn(3, 1, 12, 20, generator=torch.Generator().manual_seed(1))
    for resolution, size in ((8, (8, 13)), (12, (12, 20))):
        path = space.architecture({**space.smallest(), "resolution": resolution})
        network = space.lower(path)
        assert network.input_shape == (1, *size)
        stem = next(node.operator for node in network if node.name == "stem")
        assert stem.output_shape == (8, -(-size[0] // 2), -(-size[1] // 2))
        net = WeightSharing(space)
        torch.testing.assert_close(extract(net, path).train()(images), net(images, path), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("image_size", "expected"),
    [((8, 8), (6, 7, 8)), ((32, 32), (24, 28, 32)), ((96, 128), (64, 80, 96)), ((500, 400), (160, 192, 224))],
)
def test_a_space_takes_its_resolutions_from_the_data(image_size: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert mobile(3, 2, image_size=image_size).by_name["resolution"].options == expected


@pytest.mark.parametrize("resolution", [16, 23, 193])
def test_a_resolution_far_from_the_data_s_is_refused_with_those_of_the_data(resolution: int) -> None:
    with pytest.raises(HwnasError, match=rf"got {resolution}; hint: leave resolutions out to take \[64, 80, 96\]"):
        mobile(3, 2, (96, resolution), image_size=(96, 96))
