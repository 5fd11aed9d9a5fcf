"""Toys: a space of some thousand small networks, data of noise, and what a method's constructor is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.cost import Costing, OperatorCost
from hwnas.device import DeviceProfile, load_device
from hwnas.network import Operator, elements
from hwnas.plug import bind, resolve
from hwnas.space import SearchSpace
from hwnas.spaces.resnet_binary import resnet_binary

if TYPE_CHECKING:
    from hwnas.data import Data
    from hwnas.protocols import Batch

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


def made(make: Callable[..., Any], space: SearchSpace, seed: int = 0, settings: Mapping[str, Any] | None = None) -> Any:
    """What a method's constructor gives when a run calls it with `settings`: of space, seed, task, data, net, costings,
    limits, device, scorer and predictor it is given those that it names. HwnasError where it needs something else."""
    names = inspect.signature(make).parameters
    latency = Costing(space, toy_cost())
    context: dict[str, Any] = {"space": space, "seed": seed, "costings": {"latency": latency}, "scorer": latency}
    context |= {"limits": {"latency": latency.bounds().high}, "device": null_device()}
    if "task" in names:
        context["task"] = resolve("classify", "tasks")()
    if "predictor" in names:
        context["predictor"] = resolve("predictor.ridge", "methods")(space)
    if "data" in names:
        context["data"] = toy_data()
    if "net" in names:
        from hwnas.supernet import WeightSharing

        context["net"] = WeightSharing(space, seed)
    return bind(make, settings or {}, context, getattr(make, "__name__", "method"))
