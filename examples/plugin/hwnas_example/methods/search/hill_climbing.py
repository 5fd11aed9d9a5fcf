"""Hill climbing: one choice of the best architecture so far is redrawn (Russell and Norvig, Artificial Intelligence).

Differs: steps are told in batches, so several neighbours of the same architecture may be tried side by side.
Baseline: random search.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.errors import HwnasError
from hwnas.space import Architecture, SearchSpace


class HillClimbing:
    """Starts at random; with probability `restart` starts again, so that a local optimum is left."""

    def __init__(self, space: SearchSpace, seed: int = 0, restart: float = 0.1) -> None:
        if not 0.0 <= restart <= 1.0:
            raise HwnasError(f"restart must be a probability, got {restart!r}")
        self.space, self.restart = space, restart
        self._rng = np.random.default_rng(seed)
        self._best: tuple[float, Architecture] | None = None

    def ask(self, n: int) -> list[Architecture]:
        return [self._neighbour() for _ in range(n)]

    def tell(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        """`scores` (n,) or (n, objectives): the first objective is climbed."""
        first = np.asarray(scores, dtype=np.float64).reshape(len(architectures), -1)[:, 0]
        for architecture, score in zip(architectures, first, strict=True):
            if self._best is None or score > self._best[0]:
                self._best = float(score), architecture

    def _neighbour(self) -> Architecture:
        drawn = self.space.random(self._rng)
        if self._best is None or self._rng.random() < self.restart:
            return drawn
        moved = self.space.choices[self._rng.integers(len(self.space.choices))].name
        return self.space.architecture({**self._best[1], moved: drawn[moved]})
