"""The suites find what breaks a contract, and every method, space, block and data source of hwnas keeps its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.data import load_data
from hwnas.errors import HwnasError
from hwnas.formats import int8
from hwnas.methods.rule.single_path import SinglePath
from hwnas.methods.search.random_search import RandomSearch
from hwnas.network import Layer, Operator
from hwnas.protocols import Batch, Supernet
from hwnas.space import Architecture, SearchSpace
from hwnas.tasks.classify import Classify
from hwnas.testing import LawBroken, check, contract, kinds, laws
from hwnas.testing.toy import toy_data, toy_space
from tests.testing import softer

SOFTER = Layer("softer", softer.__name__, ("input",), (5, 4, 4), (5, 4, 4))


class AsksForTooMany(RandomSearch):
    def ask(self, n: int) -> list[Architecture]:
        return super().ask(n + 1)


class AsksForOptionsThatAreNone(RandomSearch):
    def ask(self, n: int) -> list[Architecture]:
        return [Architecture({**a, "s0.depth": 99}) for a in super().ask(n)]


class DrawsFromNoSeed(RandomSearch):
    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        super().__init__(space, int(np.random.default_rng().integers(2**31)))


class KnowsNoSeed(RandomSearch):
    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space, 0)


class TakesOneObjective(RandomSearch):
    def tell(self, architectures: Any, scores: np.ndarray) -> None:
        assert scores.ndim == 2


class OnlyAsks:
    def ask(self, n: int) -> list[Architecture]:
        return []


class Counts(SinglePath):
    """Draws from how often it was called, not from the step."""

    calls = 0

    def steps(self, net: Supernet, batch: Batch) -> Iterator[Any]:
        self.calls += 1
        return super().steps(net, replace(batch, step=self.calls))


class OwnsEverythingTwice(SinglePath):
    def groups(self, net: Supernet) -> Any:
        return {"weights": list(net.parameters()), "again": list(net.parameters())}


class StepsAnotherGroup(SinglePath):
    def steps(self, net: Supernet, batch: Batch) -> Iterator[Any]:
        yield from (("other", losses) for _, losses in super().steps(net, batch))


class LosesItself(SinglePath):
    def steps(self, net: Supernet, batch: Batch) -> Iterator[Any]:
        yield "weights", [torch.tensor(float("nan"), requires_grad=True)]


def forgetful(space: SearchSpace) -> SearchSpace:
    """A space whose list of operators lacks what its first slot builds."""

    class Forgetful(SearchSpace):
        def operators(self) -> list[Operator]:
            return super().operators()[5:]

    return Forgetful(space.name, space.choices, space.slots, space.in_channels, space.classes)


class Restless:
    """Data whose batches move with every call."""

    def __getattr__(self, name: str) -> Any:
        return getattr(toy_data(), name)

    def batch(self, split: str, indices: Any, augment: Any = None) -> Batch:
        found = toy_data().batch(split, indices, augment)
        return replace(found, inputs={name: x + torch.randn(()) for name, x in found.inputs.items()})


class JudgesByTheSet(Classify):
    """A metric that depends on which examples are judged together."""

    def statistics(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        found = super().statistics(outputs, targets)
        return found - found.mean(axis=0)


class StoresOtherWeights(int8.Symmetric):  # type: ignore[misc]
    """A codec that ships one step more than training felt."""

    def decode(self, arrays: Any, shape: Any) -> np.ndarray:
        return super().decode(arrays, shape) * np.float32(1.01)


@pytest.mark.parametrize(
    ("kind", "subject", "law"),
    [
        ("sampler", AsksForTooMany, r"ask\(7\) gives 1 to 7 architectures, got 8"),
        ("sampler", AsksForOptionsThatAreNone, "s0.depth must be one of"),
        ("sampler", DrawsFromNoSeed, "the same seed and scores give the same proposals"),
        ("sampler", KnowsNoSeed, "another seed gives other proposals"),
        ("sampler", OnlyAsks, "a sampler has ask and tell"),
        ("rule", Counts, "losses follow from seed and step alone"),
        ("rule", OwnsEverythingTwice, "a parameter is in one group"),
        ("rule", StepsAnotherGroup, "a step is of one of the groups"),
        ("rule", LosesItself, "a loss is one finite number, got nan"),
        ("space", forgetful(toy_space()), "lists every operator that can stand in a network"),
        ("task", JudgesByTheSet(), "an example's statistics do not depend on its set"),
        (
            "layer",
            Layer("softer", softer.__name__, ("input",), (5, 4, 4), (5, 4, 4)),
            "the torch forward and the numpy reference",
        ),
        ("format", replace(int8.format, weight=StoresOtherWeights()), "decode.encode.w.. == train.w, 1.0., but"),
        ("data", Restless, "the same indices give the same examples"),
    ],
)
def test_what_breaks_a_law_is_told_by_that_law(kind: str, subject: Any, law: str) -> None:
    with pytest.raises(LawBroken, match=law):
        check(kind, subject)


def test_a_thing_that_fails_in_its_own_way_does_so() -> None:
    with pytest.raises(AssertionError):
        check("sampler", TakesOneObjective)


def test_every_law_has_a_name_and_takes_the_subject_first() -> None:
    assert {"block", "data", "rule", "sampler", "space"} <= set(kinds())
    for kind in kinds():
        assert laws(kind), kind
        for law in laws(kind).values():
            assert law.__code__.co_varnames[0] == "subject", law


def test_a_setting_that_no_law_takes_is_refused_with_the_nearest() -> None:
    with pytest.raises(HwnasError, match="nearest: space"):
        check("sampler", RandomSearch, spaec=toy_space())
    with pytest.raises(HwnasError, match="nearest: sampler"):
        check("samplr", RandomSearch)


test_the_digits = contract("data", lambda: load_data({"use": "digits"}))
test_the_toy_data = contract("data", toy_data)
test_the_toy_space = contract("space", toy_space())
test_random_search_of_another_space = contract("sampler", RandomSearch, space=toy_space().restrict({"s0.depth": [2]}))


def test_the_suites_load_neither_pytest_nor_torch(repository: Path) -> None:
    """A package may check itself where there is no pytest, and `import hwnas.testing` is cheap."""
    script = (
        "import sys, hwnas.testing, hwnas.testing.toy, hwnas.testing.oracle\n"
        "hwnas.testing.check('space', hwnas.testing.toy.toy_space())\n"
        "assert not {'pytest', 'torch', 'tvm', 'onnxruntime'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=repository, check=True)


def test_one_line_in_a_test_file_is_a_test_a_law(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "from hwnas.methods.search.random_search import RandomSearch\n"
        "from hwnas.testing import contract\n"
        "test_sampler = contract('sampler', RandomSearch)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_mine.py")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert f"{len(laws('sampler'))} passed" in done.stdout, done.stdout
