"""Scores of architectures as the search asks for them: each is taken once, and outlives a killed search."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.fidelity import space_digest
from hwnas.network import Network
from hwnas.paths import digest
from hwnas.pipeline.config import Target
from hwnas.pipeline.identity import NOT_TRAINING, TRAINING, code_behind, code_of, code_of_plugins
from hwnas.pipeline.job import Job
from hwnas.pipeline.parts import Parts
from hwnas.protocols import Scorer
from hwnas.search import scores_of, unit_of
from hwnas.space import Architecture


def scorer(job: Job, parts: Parts, target: Target) -> Scorer:
    """The run file's scorer: the task's metric and losses float64 (n, 2), NaN where it gives none; every score is kept
    by the digest of its network."""
    from hwnas.pipeline import learning

    code = code_of(["hwnas.pipeline.scoring"]) | parts.code("scorer")
    name, mark = "scores", [learning.identity(job), job.config.search.recalibration_images, "accuracy and loss"]
    if job.config.search.scorer is not None:  # it may ask for what is the target's own: its limits, its costs
        name, mark = f"scores-{target.name}", [parts.named("scorer"), job.config.seed, _asked(job, parts)]
        if not TRAINED & parts.needs("scorer"):  # a net of first weights is decided by the same code as a trained one
            code |= code_of(TRAINING, NOT_TRAINING) | code_of_plugins(job.space) | code_behind(job.task)
    return _Kept(job, parts, name, mark, code)


class _Kept:
    """A scorer that asks the run file's for what is not kept yet."""

    def __init__(self, job: Job, parts: Parts, name: str, mark: Any, code: dict[str, str]) -> None:
        self.job, self.parts, self.name, self.mark, self.code = job, parts, name, mark, code
        self.known: dict[str, Any] = job.kept(name, mark, code) or {}

    @property
    def unit(self) -> str:
        return unit_of(self.parts.make("scorer"))

    def __call__(self, architectures: Sequence[Architecture], /) -> np.ndarray:
        names = [network_digest(self.job.space.lower(architecture)) for architecture in architectures]
        new = {one: a for one, a in zip(names, architectures, strict=True) if one not in self.known}
        if new:
            found = scores_of(self.parts.make("scorer"), list(new.values())).tolist()
            task = self.job.task
            if task.unit == "%" and self.unit == "%" and (strange := [a for a, _ in found if not 0 <= a <= 1]):
                raise HwnasError(f"a scorer must give scores from 0 to 1 beside {task.metric}, got {strange[0]:g}")
            scored = zip(new, found, strict=True)
            self.known.update({one: [a, None if math.isnan(b) else b] for one, (a, b) in scored})
            self.job.keep(self.name, self.mark, self.known, self.code)
        return np.asarray([self.known[one] for one in names], dtype=np.float64)


TRAINED = frozenset({"net", "rule", "data"})


def _asked(job: Job, parts: Parts) -> dict[str, Any]:
    """What a scorer's answers depend on, of what it asks for: other prices or another device are other scores."""
    from hwnas.pipeline import learning

    values: dict[str, Callable[[], Any]] = {
        "costings": lambda: {name: costing.digest for name, costing in parts.given["costings"].items()},
        "limits": lambda: dict(parts.given["limits"]),
        "device": lambda: job.device.digest,
        "task": lambda: job.config.task,
        "recalibration_images": lambda: job.config.search.recalibration_images,
    }
    needs = parts.needs("scorer")
    trained = learning.identity(job) if TRAINED & needs else space_digest(job.space)
    return {"net": trained, **{name: value() for name, value in values.items() if name in needs}}


def network_digest(network: Network) -> str:
    """Of all that decides what a network computes and what it takes: its operators, and what each of them reads."""
    outputs = [*network.outputs, *network.called]
    return digest([[[node.name, str(node.operator), list(node.inputs)] for node in network], outputs])
