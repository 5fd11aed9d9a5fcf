"""Scores of architectures as the search asks for them: the supernet's slices on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas.paths import digest
from hwnas.pipeline.identity import code_of
from hwnas.pipeline.job import Job
from hwnas.protocols import Scorer
from hwnas.space import Architecture


def scorer(job: Job, net: Any) -> Scorer:
    """The task's metric and mean loss float64 (n, 2); every score outlives a killed search, by the network's digest."""
    from hwnas.pipeline import learning

    mark = [learning.identity(job), job.config.search.recalibration_images, "accuracy and loss"]
    code = code_of(["hwnas.pipeline.scoring"])
    known: dict[str, tuple[float, float]] = job.kept("scores", mark, code) or {}

    def score(architectures: Sequence[Architecture], /) -> np.ndarray:
        names = [digest([str(o) for o in job.space.lower(a).operators]) for a in architectures]
        for name, architecture in zip(names, architectures, strict=True):
            if name not in known:
                found = learning.judge(job, learning.alone(job, net, architecture), "validation")
                known[name] = (found.accuracy, found.loss)
        job.keep("scores", mark, known, code)
        return np.asarray([known[name] for name in names], dtype=np.float64)

    return score
