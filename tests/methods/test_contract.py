"""The law of every kind of method, held to every file of its folder: a new file is tested the day it is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hwnas import find
from hwnas.cost import Costing, OperatorCost
from hwnas.methods.cost import macs
from hwnas.pipeline.config import known_limits
from hwnas.plug import HWNAS_ALONE, resolve
from hwnas.protocols import Decoder, Predictor, Proxy, Sampler, Scorer, Stateful
from hwnas.search import search
from hwnas.supernet import Net, WeightSharing
from tests.methods.toy import MACS, SPACE, Relaxed, made, score

RNG = np.random.default_rng(0)
DRAWN = [SPACE.random(RNG) for _ in range(40)]


def files(kind: str) -> list[str]:
    return find.names(f"methods.{kind}")


def test_every_kind_has_an_inhabitant() -> None:
    kinds = {name.partition(".")[0] for name in find.names("methods")}
    assert kinds >= {"rule", "search", "scorer", "predictor", "decoder", "proxy", "cost"}


@pytest.mark.parametrize("name", files("scorer"))
def test_a_score_depends_on_the_architecture_alone_and_lies_in_0_to_1(name: str) -> None:
    scorer = made("scorer", name, Scorer)
    some = DRAWN[:3]
    found = np.asarray(scorer(some))
    assert found.dtype == np.float64 and found.shape in {(3,), (3, 2)}
    accuracies = found.reshape(3, -1)[:, 0]
    assert ((accuracies >= 0) & (accuracies <= 1)).all()
    np.testing.assert_array_equal(np.asarray(scorer(some[::-1]))[::-1], found)
    assert len(scorer([])) == 0


@pytest.mark.parametrize("name", files("predictor"))
def test_a_predictor_forgets_an_earlier_fit_ignores_order_and_learns(name: str) -> None:
    codes, scores = SPACE.live_codes(DRAWN), score(DRAWN)
    one, other = made("predictor", name, Predictor), made("predictor", name, Predictor)
    one.fit(codes[:5], -scores[:5])
    one.fit(codes[:30], scores[:30])
    other.fit(codes[:30][::-1], scores[:30][::-1])
    mean, std = one.predict(codes)
    assert mean.shape == std.shape == (len(codes),) and mean.dtype == std.dtype == np.float64
    assert np.isfinite(mean).all() and (std > 0).all()
    for first, second in zip(one.predict(codes), other.predict(codes), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-6)
    assert np.corrcoef(mean[30:], scores[30:])[0, 1] > 0.5, "it ranks what it never saw"


@pytest.mark.parametrize("name", files("proxy"))
def test_a_proxy_is_a_number_of_at_least_0_and_leaves_the_net_as_it_is(name: str) -> None:
    proxy = made("proxy", name, Proxy)
    for architecture in DRAWN[:4]:
        net = Net(SPACE.lower(architecture), 3)
        before = {key: value.clone() for key, value in net.state_dict().items()}
        first = proxy(net)
        assert isinstance(first, float) and 0 <= first < np.inf and proxy(net) == first
        assert net.training and all(torch.equal(before[key], value) for key, value in net.state_dict().items())


# Best path is of a trellis: tests/methods/test_best_path.py holds it to this law.
@pytest.mark.parametrize("name", [name for name in files("decoder") if name != "best_path"])
def test_a_decoder_gives_an_architecture_of_the_space_and_repeats_itself(name: str) -> None:
    net, rule = WeightSharing(SPACE, 0), Relaxed()
    narrow = SPACE.restrict({"*precision": ["fp32"]})
    for space in (SPACE, narrow):
        found = [made("decoder", name, Decoder).decode(net, rule, space, score) for _ in range(2)]
        assert found[0] == found[1] == space.architecture(found[0])


@pytest.mark.parametrize("name", files("cost"))
def test_a_cost_file_says_its_limits_in_its_own_unit(name: str) -> None:
    found = resolve(f"cost.{name}", "methods", HWNAS_ALONE, (OperatorCost,))
    limits = find.value("methods.cost", name, "LIMITS")
    assert callable(found) and 1.0 in limits.values() and all(factor > 0 for factor in limits.values())
    assert all(limit.startswith(name) or name == "macs" for limit in limits)
    assert {limit: (name, factor) for limit, factor in limits.items()}.items() <= known_limits().items()
    assert find.value("methods.cost", name, "UNIT")


@pytest.mark.parametrize("name", files("search"))
def test_a_sampler_with_a_state_goes_on_from_it_as_it_would_have(name: str) -> None:
    one = made("search", name, Sampler)
    if not isinstance(one, Stateful):
        pytest.skip(f"{name} is replayed from its seed")

    def step(sampler: Any) -> list[Any]:
        proposals = sampler.ask(5)
        sampler.tell(proposals, np.stack([score(proposals), -MACS(proposals)], axis=1))
        return list(proposals)

    for _ in range(6):
        step(one)
    other = made("search", name, Sampler)
    import json

    other.load(json.loads(json.dumps(one.state())))
    assert [step(one) for _ in range(4)] == [step(other) for _ in range(4)]


@pytest.mark.parametrize("name", files("search"))
def test_a_search_finds_the_largest_network_where_more_is_better(name: str) -> None:
    limits = {"macs": MACS.bounds().high}
    found = search(SPACE, made("search", name, Sampler), score, {"macs": MACS}, limits, budget=60, batch=4)
    assert found.pick.accuracy > 0.9 and len(found.trials) <= 60


def test_the_toy_space_has_what_the_tests_lean_on() -> None:
    assert isinstance(MACS, Costing) and macs.UNIT == "MACs" and SPACE.size > 60
