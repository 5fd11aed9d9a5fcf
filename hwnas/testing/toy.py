"""Toys: a space of some hundred small networks, data of noise, and what a method's constructor is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.cost import Costing, OperatorCost
from hwnas.device import DeviceProfile, load_device
from hwnas.network import Operator, elements
from hwnas.plug import Given, bind, resolve
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


class Relaxed:
    """A training rule with architecture parameters: weights that rise with the option, so that the last is largest."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def groups(self, net: Supernet) -> Mapping[str, Any]:
        return {"weights": net.parameters()}

    def steps(self, net: Supernet, batch: Batch) -> Iterator[tuple[str, list[Any]]]:
        return iter(())

    def mixture(self) -> Selection:
        """A `Mix` of all options of every choice."""
        return {c.name: Mix(c.options, np.arange(len(c.options)) / len(c.options)) for c in self.space.choices}


def toy_scorer(space: SearchSpace) -> Callable[[Sequence[Architecture]], np.ndarray]:
    """A Scorer in [0, 1]: the larger the network, the better, so that the best is known."""
    costing = Costing(space, toy_cost())
    most = costing.bounds().high
    return lambda architectures: costing(architectures) / most


def asked_for(space: SearchSpace, seed: int = 0) -> Given:
    """All that a method may name in its constructor, each made when it is asked for."""

    def net() -> Any:
        from hwnas.supernet import WeightSharing

        return WeightSharing(space, seed)

    costing = Costing(space, toy_cost())
    makers: dict[str, Callable[[], Any]] = {
        "space": lambda: space,
        "seed": lambda: seed,
        "task": lambda: resolve("classify", "tasks")(),
        "data": toy_data,
        "net": net,
        "rule": lambda: Relaxed(space),
        "costings": lambda: {costing.cost.name: costing},
        "limits": lambda: {costing.cost.name: costing.bounds().high},
        "device": null_device,
        "scorer": lambda: toy_scorer(space),
        "predictor": lambda: resolve("predictor.ridge", "methods")(space),
        "proxy": lambda: resolve("proxy.synflow", "methods")(),
        "recalibration_images": lambda: 32,
        "progress": lambda: lambda done, total, note: None,
    }
    return Given(makers)


def made(make: Callable[..., Any], space: SearchSpace, seed: int = 0, settings: Mapping[str, Any] | None = None) -> Any:
    """What a method's constructor gives when a run calls it with `settings`: of `asked_for` it is given what it names.
    HwnasError where it needs something else."""
    return bind(make, settings or {}, asked_for(space, seed), getattr(make, "__name__", "method"))
