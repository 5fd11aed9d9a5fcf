"""Observer: which range of each tensor is worth its 256 codes."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.scales import Scale, dequantise, quantise
from hwnas.ops.primitive import is_integer

ClipRule = Literal["minmax", "percentile", "mse"]
PERCENTILE = 99.99
SAMPLES_A_BATCH = 16384  # values kept a tensor and batch: the squared error of a range needs a sample, not the whole
SHRINK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)


class Observer:
    """Extremes and a fixed-stride sample of every integer tensor shown to it."""

    def __init__(self, clip: ClipRule) -> None:
        self.clip = clip
        self._extremes: dict[str, tuple[float, float]] = {}
        self._samples: dict[str, list[np.ndarray]] = {}

    def see(self, name: str, layer: Layer, value: np.ndarray) -> None:
        """Take in one batch of a layer's output."""
        if not is_integer(layer):
            return
        low, high = float(value.min()), float(value.max())
        if name in self._extremes:
            low, high = min(low, self._extremes[name][0]), max(high, self._extremes[name][1])
        self._extremes[name] = (low, high)
        # An odd stride does not fall in step with rows or channels of even length.
        stride = max(1, value.size // SAMPLES_A_BATCH) | 1
        self._samples.setdefault(name, []).append(value.ravel()[::stride].copy())

    def ranges(self) -> dict[str, tuple[float, float]]:
        """(low, high) of every tensor, under the clip rule."""
        return {name: self._range(name) for name in self._extremes}

    def _range(self, name: str) -> tuple[float, float]:
        low, high = self._extremes[name]
        if self.clip == "minmax":
            return low, high
        sample = np.concatenate(self._samples[name])
        if self.clip == "percentile":
            return float(np.percentile(sample, 100 - PERCENTILE)), float(np.percentile(sample, PERCENTILE))
        return _least_squares(sample, low, high)


def _least_squares(sample: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The ends, shrunk towards zero apart from each other, whose codes give the least squared error."""
    best = (low, high)
    for end in (1, 0):
        errors = []
        for factor in SHRINK:
            tried = (best[0] * factor, best[1]) if end == 0 else (best[0], best[1] * factor)
            scale = Scale.of_range(*tried)
            errors.append(float(np.square(sample - dequantise(quantise(sample, scale), scale)).mean(dtype=np.float64)))
        factor = SHRINK[int(np.argmin(errors))]
        best = (best[0] * factor, best[1]) if end == 0 else (best[0], best[1] * factor)
    return best
