"""NSGA-II: non-dominated sorting and crowding over several objectives (Deb et al., IEEE TEVC 2002), by pymoo.

Differs: pymoo's integer operators (simulated binary crossover and polynomial mutation, rounded) on option indices.
Baseline: search.random_search at an equal number of scored architectures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.space import Architecture, SearchSpace


class NSGA2:
    """pymoo's NSGA2 behind ask and tell. A generation is asked for in parts and told when all of it is scored.
    HwnasError for a population below 2."""

    def __init__(self, space: SearchSpace, seed: int = 0, population: int = 32, objectives: int = 2) -> None:
        from pymoo.algorithms.moo.nsga2 import NSGA2 as Algorithm  # heavy import, on first use only
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
        from pymoo.operators.sampling.rnd import IntegerRandomSampling

        if population < 2:
            raise HwnasError(f"population must be at least 2, got {population}")
        self.space = space
        upper = [len(choice.options) - 1 for choice in space.choices]
        problem = Problem(n_var=len(upper), n_obj=objectives, xl=[0] * len(upper), xu=upper, vtype=int)
        self._algorithm: Any = Algorithm(
            pop_size=population,
            sampling=IntegerRandomSampling(),
            crossover=SBX(prob=0.9, eta=15, vtype=float, repair=RoundingRepair()),
            mutation=PM(prob=1.0, prob_var=2.0 / len(upper), eta=5, vtype=float, repair=RoundingRepair()),
        )
        self._algorithm.setup(problem, termination=("n_gen", 10**9), seed=seed, verbose=False)
        self._generation: Any = None
        self._asked = 0
        self._scores: dict[Architecture, np.ndarray] = {}
        self._members: list[Architecture] = []

    def ask(self, n: int) -> list[Architecture]:
        if self._generation is None:
            self._generation = self._algorithm.ask()
            self._members = self.space.decode(np.round(self._generation.get("X")).astype(int))
            self._asked = 0
        part = self._members[self._asked : self._asked + n]
        self._asked += len(part)
        return part

    def tell(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        for architecture, score in zip(architectures, np.atleast_2d(scores.T).T, strict=True):
            self._scores[architecture] = score
        if self._generation is not None and self._asked >= len(self._members):
            self._generation.set("F", -np.stack([self._scores[member] for member in self._members]))
            self._algorithm.tell(infills=self._generation)
            self._generation = None
            self._scores.clear()
