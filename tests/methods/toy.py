"""A space small enough to reason about by hand, and what every kind of method asks for, made of real parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hwnas.cost import Costing
from hwnas.data import Data, load_data
from hwnas.methods.cost.macs import macs
from hwnas.methods.predictor.ridge import Ridge
from hwnas.methods.proxy.synflow import SynFlow
from hwnas.plug import HWNAS_ALONE, Given, bind, resolve
from hwnas.space import Architecture, Mix, Selection
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import WeightSharing
from hwnas.tasks.classify import Classify

SPACE = resnet_binary(1, 10, (8,), 8, 2, ((8, 16),), (1, 2), (2,), (3, 5), ("fp32", "int8"))
MACS = Costing(SPACE, macs())


class Relaxed:
    """A rule with architecture parameters: weights that rise with the option, so the last one is the largest."""

    def groups(self, net: Any) -> dict[str, Any]:
        return {"weights": net.parameters()}

    def steps(self, net: Any, batch: Any) -> Any:
        return iter(())

    def mixture(self) -> Selection:
        return {c.name: Mix(c.options, np.arange(len(c.options)) / len(c.options)) for c in SPACE.choices}


def score(architectures: list[Architecture]) -> np.ndarray:
    """More multiply-accumulates are better: no noise, so the best is known."""
    return MACS(architectures) / MACS.bounds().high


def digits() -> Data:
    return load_data({"use": "digits"})


def asked_for(seed: int = 0) -> Given:
    """Everything that a method may name in its constructor."""
    makers: dict[str, Callable[[], Any]] = {
        "space": lambda: SPACE,
        "seed": lambda: seed,
        "data": digits,
        "task": Classify,
        "net": lambda: WeightSharing(SPACE, seed),
        "rule": Relaxed,
        "costings": lambda: {"macs": MACS},
        "limits": lambda: {"macs": MACS.bounds().high},
        "predictor": lambda: Ridge(SPACE),
        "proxy": SynFlow,
        "scorer": lambda: score,
        "recalibration_images": lambda: 32,
        "progress": lambda: lambda done, total, note: None,
    }
    return Given(makers)


def made(kind: str, name: str, interface: type, seed: int = 0) -> Any:
    """The method of a file, given what it asks for, as a run file makes it."""
    use = f"{kind}.{name}"
    return bind(resolve(use, "methods", HWNAS_ALONE, (interface,)), {}, asked_for(seed), use)
