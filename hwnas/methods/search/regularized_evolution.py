"""Regularised evolution: tournaments, mutation, and the oldest dies (Real et al., AAAI 2019, arXiv:1802.01548).

Differs: children are asked for in batches; evolution starts from the first batch told instead of a full population, so
that a budget below the population is not random search (ageing alone waits for a full queue); the mutation redraws one
random choice (and each further one with probability `extra`, 0 in the paper); with several objectives told, tournaments
compare them in order. Measured: docs/results/samplers.md.
Baseline: search.random_search at an equal number of scored architectures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from hwnas.errors import HwnasError
from hwnas.space import Architecture, SearchSpace, Value


class RegularizedEvolution:
    """Algorithm 1 of the paper: population P (a queue), sample S, mutate the best of the sample.
    HwnasError for a population below 2, an empty sample or a share `extra` outside [0, 1]."""

    def __init__(
        self, space: SearchSpace, seed: int = 0, population: int = 100, sample: int = 25, extra: float = 0.0
    ) -> None:
        if population < 2 or sample < 1 or not 0 <= extra <= 1:
            raise HwnasError(
                f"population must be at least 2, sample at least 1 and extra in [0, 1], got {population}, {sample} and "
                f"{extra}"
            )
        self.space, self.sample, self.extra = space, sample, extra
        self._rng = np.random.default_rng(seed)
        self._population: deque[tuple[tuple[float, ...], Architecture]] = deque(maxlen=population)

    def ask(self, n: int) -> list[Architecture]:
        return [self._child() for _ in range(n)]

    def tell(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        for architecture, score in zip(architectures, np.atleast_2d(scores.T).T, strict=True):
            self._population.append((tuple(map(float, score)), architecture))

    def _child(self) -> Architecture:
        if len(self._population) < 2:
            return self.space.random(self._rng)
        drawn = self._rng.integers(len(self._population), size=self.sample)
        _, parent = max((self._population[i] for i in drawn), key=lambda member: member[0])
        return self._mutated(parent)

    def _mutated(self, parent: Architecture) -> Architecture:
        open_choices = [choice for choice in self.space.choices if len(choice.options) > 1]
        if not open_choices:
            return parent
        values: dict[str, Value] = dict(parent)
        always = self._rng.integers(len(open_choices))
        for i, choice in enumerate(open_choices):
            if i == always or self._rng.random() < self.extra:
                others = [option for option in choice.options if option != values[choice.name]]
                values[choice.name] = others[self._rng.integers(len(others))]
        return Architecture(values)
