"""The supernet: a selection is an argument, a hard one is the stand-alone net, and a call leaves no state."""

from __future__ import annotations

import pytest
import torch

from hwnas.errors import HwnasError
from hwnas.protocols import Supernet
from hwnas.space import Mix, SearchSpace
from hwnas.spaces.mobile import mobile
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import WeightSharing, extract, recalibrate

SPACES = {
    "mobile": mobile(1, 10, (8, 16), 8, 1, ((8, 16), (16,)), (1, 2), (2, 1), (3, 5), (2, 4)),
    "resnet_binary": resnet_binary(1, 10, (8, 16), 8, 1, ((8, 16), (16, 32)), (1, 2), (1, 2), (3, 5)),
}
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


def test_folding_the_stages_is_the_net_and_a_call_changes_nothing(space: SearchSpace) -> None:
    net, path = WeightSharing(space), {**space.smallest(), "resolution": 8}
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = IMAGES
    for stage in net.stages:
        x = stage(x, path)
    assert torch.equal(x, net(IMAGES, path))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_hard_selection_has_the_parameters_of_the_stand_alone_net_and_trains_only_those(space: SearchSpace) -> None:
    net = WeightSharing(space)
    net(IMAGES, space.smallest()).sum().backward()
    touched = sum(int((p.grad != 0).sum()) for p in net.parameters() if p.grad is not None)
    assert 0 < touched <= sum(p.numel() for p in extract(net, space.smallest()).parameters())


def test_a_mix_is_the_weighted_sum_of_its_options() -> None:
    space = SPACES["mobile"]
    net = WeightSharing(space)
    hard = {**space.largest(), "resolution": 8, "s1.depth": 1}
    soft = {**hard, "s1.b0.kernel": Mix((3, 5), torch.tensor([0.3, 0.7]))}
    stage = next(s for s in net.stages if s.slot.name == "s1.b0")  # type: ignore[union-attr]
    operator = next(n.operator for n in space.lower(hard) if n.name == "s1.b0")
    x = torch.randn(4, *operator.input_shape)
    expected = 0.3 * stage(x, {**hard, "s1.b0.kernel": 3}) + 0.7 * stage(x, {**hard, "s1.b0.kernel": 5})
    torch.testing.assert_close(stage(x, soft), expected)


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
