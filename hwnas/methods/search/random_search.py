"""Random search: uniform draws, the baseline of every sampler (Li and Talwalkar, UAI 2019, arXiv:1902.07638).

Baseline: one architecture that meets the limits, drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.space import Architecture, SearchSpace


class RandomSearch:
    """Uniform over every choice; ignores what it is told."""

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        self.space = space
        self._rng = np.random.default_rng(seed)

    def ask(self, n: int) -> list[Architecture]:
        return [self.space.random(self._rng) for _ in range(n)]

    def tell(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        """Nothing is learnt."""
