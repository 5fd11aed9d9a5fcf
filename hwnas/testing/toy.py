"""Toys: a space of some hundred small networks, data of noise, and what a method's constructor is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.cost import Costing, OperatorCost
from hwnas.device import DeviceProfile, load_device
from hwnas.network import Operator, elements
from hwnas.plug import bind, resolve
from hwnas.space import Architecture, Mix, SearchSpace, Selection
from hwnas.spaces.resnet_binary import resnet_binary

if TYPE_CHECKING:
    from hwnas.data import Data
    from hwnas.protocols import Batch, Supernet

CLASSES, SIDE, IMAGES = 10, 8, 96


@lru_cache(maxsize=1)
def toy_space() -> SearchSpace:
    """Networks of one to four blocks on images (1, 8, 8) of ten classes, in every format that resnet_binary has."""
    return resnet_binary(1, CLASSES, (SIDE,), 8, 2, ((8, 16),), (1, 2), (2,), (3, 5))


def toy_cost() -> OperatorCost:
    """A latency in "us" that follows from an operator's shapes alone, so that what is best can be computed."""
    return OperatorCost("latency", "us", _elements)


def _elements(operator: Operator) -> float:
    return float(elements(operator.input_shape) + elements(operator.output_shape))


def null_device() -> DeviceProfile:
    """The device whose costs are made up and exact: the whole pipeline runs on it with no clock."""
    return load_device("null")


@lru_cache(maxsize=1)
def toy_data() -> Data:
    """96 images of noise (1, 8, 8) to train on, of ten classes in turn, and three each to validate and to test."""
    from hwnas.data import Raw, prepare

    rng = np.random.default_rng(0)
    images = rng.standard_normal((IMAGES + 6, 1, SIDE, SIDE)).astype(np.float32)
    labels = np.arange(IMAGES + 6) % CLASSES
    return prepare(Raw("noise", images, labels, tuple("0123456789"), np.repeat([0, 1, 2], [IMAGES, 3, 3])))


def toy_batch(step: int = 0, count: int = 16) -> Batch:
    """`count` training images of the toy data, with the number of the optimiser step they are for and as many others,
    held out."""
    from dataclasses import replace

    held_out = toy_data().batch("train", np.arange(count, 2 * count))
    return replace(toy_data().batch("train", np.arange(count)), step=step, held_out=replace(held_out, step=step))


@dataclass(frozen=True)
class ToyRule:
    """A training rule with architecture parameters that nothing trains: the last option of every choice weighs most."""

    space: SearchSpace

    def groups(self, net: Supernet) -> dict[str, Any]:
        return {"weights": net.parameters()}

    def steps(self, net: Supernet, batch: Batch) -> Iterator[Any]:
        return iter(())

    def mixture(self) -> Selection:
        """Weights 1, 2, 3, ... over their sum, a `Mix` a choice."""
        counts = {choice.name: np.arange(1, len(choice.options) + 1) for choice in self.space.choices}
        return {c.name: Mix(c.options, counts[c.name] / counts[c.name].sum()) for c in self.space.choices}

    def pick(self) -> Architecture:
        """The last option of every choice."""
        return Architecture({choice.name: choice.options[-1] for choice in self.space.choices})


def toy_rule(space: SearchSpace) -> ToyRule:
    """The rule that a decoder of the toy space reads."""
    return ToyRule(space)


def made(make: Callable[..., Any], space: SearchSpace, seed: int = 0, settings: Mapping[str, Any] | None = None) -> Any:
    """What a method's constructor gives when a run calls it with `settings`: of all that a run gives to methods
    (docs/methods.md) it is given what it names. HwnasError where it needs something else."""
    names = inspect.signature(make).parameters
    latency = Costing(space, toy_cost())
    context: dict[str, Any] = {"space": space, "seed": seed, "costings": {"latency": latency}, "scorer": latency}
    context |= {"limits": {"latency": latency.bounds().high}, "device": null_device()}
    if "task" in names:
        context["task"] = resolve("classify", "tasks")()
    if "predictor" in names:
        context["predictor"] = resolve("predictor.ridge", "methods")(space)
    if "proxy" in names:
        context["proxy"] = resolve("proxy.synflow", "methods")()
    if "rule" in names:
        context["rule"] = toy_rule(space)
    context |= {"recalibration_images": IMAGES, "progress": lambda done, total, note: None}
    if "data" in names:
        context["data"] = toy_data()
    if "net" in names:
        from hwnas.supernet import WeightSharing

        context["net"] = WeightSharing(space, seed)
    return bind(make, settings or {}, context, getattr(make, "__name__", "method"))
