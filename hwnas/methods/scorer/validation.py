"""Validation: accuracy of the supernet's slice on validation images (Guo et al., SPOS, ECCV 2020, arXiv:1904.00420).

Differs: the batch-norm statistics are recalibrated on images drawn class by class from the seed, the same for every
architecture; the validation loss is given as well, which tells near ties apart.
Baseline: scorer.proxy, which needs no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas.data import Data
from hwnas.space import Architecture


class Validation:
    """Accuracy and mean cross entropy float64 (n, 2), of the split "validation"."""

    def __init__(self, net: Any, data: Data, seed: int, recalibration_images: int) -> None:
        self.net, self.data, self.seed, self.images = net, data, seed, recalibration_images

    def __call__(self, architectures: Sequence[Architecture], /) -> np.ndarray:
        return np.array([self._score(architecture) for architecture in architectures], dtype=np.float64).reshape(-1, 2)

    def _score(self, architecture: Architecture) -> tuple[float, float]:
        from hwnas.supernet import extract, recalibrate
        from hwnas.train import evaluate, some_images

        alone = recalibrate(extract(self.net, architecture), some_images(self.data, self.images, self.seed))
        found = evaluate(alone, self.data, "validation")
        return found.accuracy, found.loss
