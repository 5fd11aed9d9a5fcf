"""Predicted: a predictor proposes the best of many random architectures (Wen et al., ECCV 2020, arXiv:1912.00848).

The paper's loop: score some random architectures, fit a predictor, score those that it ranks highest.

Differs: any predictor, fitted again at every ask; the random architectures meet the limits by their costs, and are
ranked by mean + `optimism` standard deviations, the mean alone by default.
Baseline: search.random_search at an equal number of scored architectures, then search.regularized_evolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas.cost import Costing
from hwnas.errors import HwnasError
from hwnas.protocols import Predictor
from hwnas.space import Architecture, SearchSpace


class Predicted:
    """`initial` random architectures, then the best of `pool` predicted ones at every ask."""

    def __init__(
        self,
        space: SearchSpace,
        predictor: Predictor,
        costings: Mapping[str, Costing],
        limits: Mapping[str, float],
        seed: int = 0,
        initial: int = 20,
        pool: int = 1000,
        optimism: float = 0.0,
    ) -> None:
        if initial < 1 or pool < 1:
            raise HwnasError(f"initial and pool must be at least 1, got {initial} and {pool}")
        self.space, self.predictor, self.costings, self.limits = space, predictor, costings, limits
        self.seed, self.initial, self.pool, self.optimism = seed, initial, pool, optimism
        self._asked = 0
        self._told: list[tuple[Architecture, float]] = []  # those that met the limits, with what they scored
        self._seen: set[tuple[int, ...]] = set()

    def ask(self, n: int) -> list[Architecture]:
        drawn = self._drawn()
        self._asked += 1
        if len(self._told) >= self.initial:
            told, scores = zip(*self._told, strict=True)
            self.predictor.fit(self.space.live_codes(told), np.array(scores))
            mean, std = _predicted(self.predictor, self.space.live_codes(drawn))
            drawn = [drawn[i] for i in np.argsort(-(mean + self.optimism * std), kind="stable")]
        return drawn[:n]

    def tell(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        first = np.atleast_2d(scores.T).T[:, 0]
        for architecture, code, score in zip(architectures, self._codes(architectures), first, strict=True):
            self._seen.add(code)
            if self._fits(self.space.encode([architecture]))[0] and score > -1:  # an exact cost may still exclude it
                self._told.append((architecture, float(score)))

    def state(self) -> dict[str, Any]:
        architectures = [dict(architecture) for architecture, _ in self._told]
        scores = [score for _, score in self._told]
        return {"asked": self._asked, "told": architectures, "scores": scores, "seen": sorted(map(list, self._seen))}

    def load(self, state: Mapping[str, Any]) -> None:
        self._asked = int(state["asked"])
        told = [self.space.architecture(values) for values in state["told"]]
        self._told = list(zip(told, map(float, state["scores"]), strict=True))
        self._seen = {tuple(map(int, code)) for code in state["seen"]}

    def _drawn(self) -> list[Architecture]:
        """Random architectures, a network once, that meet the limits and were never told: none where all were told, any
        where none meets them."""
        rng = np.random.default_rng((self.seed, self._asked))
        extents = np.array([len(choice.options) for choice in self.space.choices])
        codes = rng.integers(0, extents, size=(self.pool, len(extents)))
        drawn = self.space.decode(codes[self._fits(codes)])
        new = {code: one for one, code in zip(drawn, self._codes(drawn), strict=True) if code not in self._seen}
        return list(new.values()) if drawn else self.space.decode(codes)

    def _codes(self, architectures: Sequence[Architecture]) -> list[tuple[int, ...]]:
        return [tuple(row) for row in self.space.live_codes(architectures).tolist()]

    def _fits(self, codes: np.ndarray) -> np.ndarray:
        fits = np.ones(len(codes), dtype=bool)
        for name, limit in self.limits.items():
            fits &= self.costings[name].of_codes(codes) <= limit
        return fits


def _predicted(predictor: Predictor, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every code, float64 (n,) each; HwnasError where the predictor gives something else."""
    try:
        mean, std = (np.asarray(values, np.float64) for values in predictor.predict(codes))
    except (TypeError, ValueError):
        raise HwnasError("a predictor must give a mean and a deviation of every code, two arrays (n,)") from None
    if not mean.shape == std.shape == (len(codes),) or not np.isfinite([mean, std]).all() or (std < 0).any():
        raise HwnasError(
            f"a predictor must give a finite mean and a deviation above 0 of each of {len(codes)} codes, got shapes "
            f"{mean.shape} and {std.shape}" + ", some of them not finite or below 0" * (mean.shape == (len(codes),))
        )
    return mean, std
