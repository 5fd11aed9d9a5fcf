"""The law of every kind of method, held to every file of its folder: a new file is tested the day it is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas import find
from hwnas.cost import Costing, OperatorCost
from hwnas.methods.cost import macs
from hwnas.pipeline.config import known_limits
from hwnas.plug import HWNAS_ALONE, resolve
from hwnas.protocols import Decoder, Predictor, Proxy, Sampler, Scorer, Stateful
from hwnas.search import search
from hwnas.testing import contract
from tests.methods.toy import MACS, SPACE, made, score


def files(kind: str) -> list[str]:
    return find.names(f"methods.{kind}")


def test_every_kind_has_an_inhabitant() -> None:
    kinds = {name.partition(".")[0] for name in find.names("methods")}
    assert kinds >= {"rule", "search", "scorer", "predictor", "decoder", "proxy", "cost"}


def methods(kind: str, interface: type) -> list[Any]:
    """The class or function of every file of a kind."""
    return [resolve(f"{kind}.{name}", "methods", HWNAS_ALONE, (interface,)) for name in files(kind)]


test_every_scorer = contract("scorer", *methods("scorer", Scorer))
test_every_predictor = contract("predictor", *methods("predictor", Predictor))
test_every_proxy = contract("proxy", *methods("proxy", Proxy))
test_every_decoder = contract("decoder", *methods("decoder", Decoder))


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
