"""The law of every kind of method, held to every file of its folder: a new file is tested the day it is there."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from hwnas import find
from hwnas.errors import HwnasError
from hwnas.methods.cost.macs import macs
from hwnas.methods.decoder.argmax import Argmax
from hwnas.methods.predictor.ridge import Ridge
from hwnas.methods.proxy.synflow import SynFlow
from hwnas.methods.scorer.proxy import Proxy
from hwnas.plug import resolve
from hwnas.protocols import Sampler, Stateful
from hwnas.search import search
from hwnas.space import Architecture
from hwnas.supernet import WeightSharing
from hwnas.testing import LawBroken, check, contract
from hwnas.testing import toy as toys
from tests.methods.toy import MACS, SPACE, made, score


def of_kind(kind: str) -> list[Any]:
    return [resolve(f"{kind}.{name}", "methods") for name in find.names(f"methods.{kind}")]


def reads_the_toy(decoder: Any) -> bool:
    """Whether a decoder takes any space; one of a single family is held to the law beside that family's own tests."""
    try:
        net, rule = WeightSharing(toys.toy_space()), toys.toy_rule(toys.toy_space())
        toys.made(decoder, toys.toy_space()).decode(net, rule, toys.toy_space(), score)
    except HwnasError:
        return False
    return True


class Scaled:
    """What the supernet gives, times a number that is trained with it."""

    def __call__(self, net: Any, /) -> Any:
        return ScaledNet(net)


class ScaledNet(torch.nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net, self.space, self.scale = net, net.space, torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, inputs: Any, selection: Any) -> torch.Tensor:
        scaled: torch.Tensor = self.scale * self.net(inputs, selection)
        return scaled

    def tensors(self, node: Any, selection: Any) -> Any:
        return self.net.tensors(node, selection)


test_every_scorer = contract("scorer", *of_kind("scorer"))
test_every_predictor = contract("predictor", *of_kind("predictor"))
test_every_proxy = contract("proxy", *of_kind("proxy"))
test_every_decoder = contract("decoder", *(one for one in of_kind("decoder") if reads_the_toy(one)))
test_every_wrapper = contract("wrapper", *of_kind("wrapper"), Scaled)
test_every_cost = contract("cost", *find.names("methods.cost"))


class ScoresByPlace(Proxy):
    def __call__(self, architectures: Any, /) -> np.ndarray:
        return np.arange(len(architectures)) / len(architectures)


class Remembers(Ridge):
    """Goes on from what it was told before."""

    seen: tuple[Any, ...] = ()

    def fit(self, codes: np.ndarray, scores: np.ndarray) -> None:
        self.seen = (*self.seen, (codes, scores))
        super().fit(*(np.concatenate(parts) for parts in zip(*self.seen, strict=True)))


class IsSure(Ridge):
    def predict(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = super().predict(codes)
        return mean, 0 * std


class Flattens(SynFlow):
    def __call__(self, net: Any, /) -> float:
        for parameter in net.parameters():
            parameter.data.abs_()
        return super().__call__(net)


class KnowsOneSpace(Argmax):
    def decode(self, net: Any, rule: Any, space: Any, evaluate: Any) -> Architecture:
        return super().decode(net, rule, net.space, evaluate)


def breaking(**methods: Any) -> Any:
    """A wrapper whose net has other methods."""
    made = type("Broken", (ScaledNet,), methods)

    class Breaks:
        def __call__(self, net: Any, /) -> Any:
            return made(net)

    return Breaks


def counted(self: Any, inputs: Any, selection: Any) -> torch.Tensor:
    with torch.no_grad():
        self.scale += 1
    result: torch.Tensor = self.net(inputs, selection)
    return result


@pytest.mark.parametrize(
    ("kind", "subject", "told"),
    [
        ("wrapper", breaking(forward=counted), "a call changes nothing, changed: .'scale'."),
        ("wrapper", breaking(forward=lambda self, x, a: self.net(x, a)[:1]), "outputs .16, 10., got .1, 10."),
        ("wrapper", breaking(tensors=lambda self, node, a: {}), "tensors of"),
        ("wrapper", breaking(forward=lambda self, x, a: self.net(x, a).detach().requires_grad_()), "has a gradient"),
        ("wrapper", breaking(state_dict=lambda self: {"scale": self.scale}), "every parameter is in state_dict"),
        ("scorer", ScoresByPlace, "does not depend on what else is asked"),
        ("predictor", Remembers, "a fit forgets the one before"),
        ("predictor", IsSure, "a deviation is above 0"),
        ("proxy", Flattens, "the net's values stay"),
        ("decoder", KnowsOneSpace, "keeps_to_what_a_narrower_space_leaves"),
    ],
)
def test_a_suite_finds_what_breaks_its_law(kind: str, subject: Any, told: str) -> None:
    with pytest.raises(LawBroken, match=told):
        check(kind, subject)


@pytest.mark.parametrize("name", find.names("methods.search"))
def test_a_sampler_with_a_state_goes_on_from_it_as_it_would_have(name: str) -> None:
    one, other = made("search", name, Sampler), made("search", name, Sampler)
    if not isinstance(one, Stateful):
        pytest.skip(f"{name} is replayed from its seed")

    def step(sampler: Any) -> list[Any]:
        proposals = sampler.ask(5)
        sampler.tell(proposals, np.stack([score(proposals), -MACS(proposals)], axis=1))
        return list(proposals)

    for _ in range(6):
        step(one)
    other.load(json.loads(json.dumps(one.state())))
    assert [step(one) for _ in range(4)] == [step(other) for _ in range(4)]


@pytest.mark.parametrize("name", find.names("methods.search"))
def test_a_search_finds_a_large_network_where_more_is_better(name: str) -> None:
    limits = {"macs": MACS.bounds().high}
    found = search(SPACE, made("search", name, Sampler), score, {"macs": MACS}, limits, budget=60, batch=4)
    assert found.pick.accuracy > 0.9 and len(found.trials) <= 60


def test_the_toy_space_is_large_enough_for_a_search() -> None:
    assert SPACE.size > 60 and macs().unit == "MACs"
