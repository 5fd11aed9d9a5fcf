"""Validation: the supernet's slice on validation examples (Guo et al., SPOS, ECCV 2020, arXiv:1904.00420).

Differs: the batch-norm statistics are recalibrated on images drawn class by class from the seed, the same for every
architecture; the validation loss is given as well, which tells near ties apart.
Baseline: scorer.proxy, which needs no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas.protocols import Data, Task
from hwnas.space import Architecture
from hwnas.tasks.classify import Classify


class Validation:
    """The task's metric and mean loss float64 (n, 2), of the split "validation"."""

    def __init__(self, net: Any, data: Data, seed: int, recalibration_images: int, task: Task = Classify()) -> None:
        self.net, self.data, self.seed, self.images, self.task = net, data, seed, recalibration_images, task
        self.unit = task.unit

    def __call__(self, architectures: Sequence[Architecture], /) -> np.ndarray:
        return np.array([self._score(architecture) for architecture in architectures], dtype=np.float64).reshape(-1, 2)

    def _score(self, architecture: Architecture) -> tuple[float, float]:
        from hwnas.supernet import extract, recalibrate
        from hwnas.train import evaluate, some_images

        alone = recalibrate(extract(self.net, architecture), some_images(self.data, self.images, self.seed))
        found = evaluate(alone, self.data, "validation", task=self.task)
        return found.accuracy, found.loss
