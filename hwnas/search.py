"""The search loop: ask, keep what fits the limits, score, tell; ends with the Pareto front and the pick.

Costs are known before accuracy, so an architecture over a limit is never scored: it is told as worse than every
feasible one, the worse the further it is from its limit (constrained domination, Deb 2000).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.cost import Costing
from hwnas.errors import CheckFailed, HwnasError
from hwnas.network import Network
from hwnas.protocols import Sampler, Scorer
from hwnas.space import Architecture, SearchSpace
from hwnas.units import positive

# What a block that could not be measured (infinite cost) counts as: over every limit, and finite for a sampler.
UNMEASURABLE = 1e12


@dataclass(frozen=True)
class Trial:
    """A scored architecture: accuracy in [0, 1], costs by name in their own units."""

    architecture: Architecture
    accuracy: float
    costs: Mapping[str, float]


@dataclass(frozen=True)
class SearchResult:
    """Everything scored, the Pareto front (accuracy against the first limited cost), the pick, and honest counts."""

    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    pick: Trial
    proposed: int
    infeasible: int
    repeated: int


def check_reachable(costings: Mapping[str, Costing], limits: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """The exact reachable (low, high) of every cost. HwnasError for a limit that no architecture meets, at once."""
    ranges = {}
    for name, costing in costings.items():
        bounds = costing.bounds()
        ranges[name] = (bounds.low, bounds.high)
        if name in limits and bounds.low > positive(limits[name], f"limit {name}"):
            unit = costing.cost.unit
            raise HwnasError(
                f"no architecture of {costing.space.name} meets {name} <= {limits[name]:.6g} {unit}: "
                f"the smallest reachable is {bounds.low:.6g} {unit}, by {compact(bounds.smallest)}",
                hint=f"a limit between {bounds.low:.6g} and {bounds.high:.6g} {unit}",
            )
    return ranges


def compact(architecture: Mapping[str, object]) -> str:
    """`resolution=16 s0.depth=1 ...` in one line."""
    return " ".join(f"{name}={value}" for name, value in architecture.items())


def search(
    space: SearchSpace,
    sampler: Sampler,
    scorer: Scorer,
    costings: Mapping[str, Costing],
    limits: Mapping[str, float],
    budget: int = 200,
    batch: int = 16,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> SearchResult:
    """Scores at most `budget` different networks that meet every limit, and picks the most accurate.

    The cheapest architecture by each limited cost is scored first, so a search ends with an answer where there is one.
    `objectives` told are accuracy and the negated first cost. Ties in accuracy go to the cheaper architecture.
    """
    check_reachable(costings, limits)
    first = next(iter(limits), next(iter(costings), None))
    counts = {"proposed": 0, "infeasible": 0, "repeated": 0}
    trials: dict[Network, Trial] = {}
    queue = _seeds(space, costings, limits, batch, seed)
    asked, most = 0, 200 * max(1, budget // batch)
    while len(trials) < budget and asked < most:
        room = min(batch, budget - len(trials))
        proposals = queue[:budget] or sampler.ask(room)
        queue, asked = [], asked + 1
        if not proposals:
            break
        scores = _told(space, proposals, scorer, costings, limits, trials, counts, first)
        sampler.tell(proposals, scores)
        if progress:
            best = max((t.accuracy for t in trials.values()), default=0.0)
            progress(len(trials), budget, f"best {best:.2%}, {counts['proposed']} proposed")
    return _result(tuple(trials.values()), counts, first, limits, costings)


def _seeds(
    space: SearchSpace, costings: Mapping[str, Costing], limits: Mapping[str, float], batch: int, seed: int
) -> list[Architecture]:
    """The cheapest architecture by every limited cost, and random feasible ones found by costing many at once."""
    cheapest = [costings[name].bounds().smallest for name in limits]
    rng = np.random.default_rng((seed, 0))
    extents = np.array([len(choice.options) for choice in space.choices])
    codes = rng.integers(0, extents, size=(20_000, len(extents)))
    fits = np.ones(len(codes), dtype=bool)
    for name, limit in limits.items():
        fits &= costings[name].of_codes(codes) <= limit
    return list(dict.fromkeys([*cheapest, *space.decode(codes[fits][:batch])]))


def _told(
    space: SearchSpace,
    proposals: Sequence[Architecture],
    scorer: Scorer,
    costings: Mapping[str, Costing],
    limits: Mapping[str, float],
    trials: dict[Network, Trial],
    counts: dict[str, int],
    first: str | None,
) -> np.ndarray:
    """Scores the new feasible proposals; returns what the sampler is told, (n, 2): accuracy and negated first cost."""
    costs = {name: np.minimum(costing(proposals), UNMEASURABLE) for name, costing in costings.items()}
    excess = sum(cost >= UNMEASURABLE for cost in costs.values()) + np.zeros(len(proposals))
    for name, limit in limits.items():
        excess += np.maximum(0.0, costs[name] / limit - 1.0)
    networks = [space.lower(architecture) for architecture in proposals]
    new = {networks[i]: i for i in range(len(proposals)) if excess[i] == 0 and networks[i] not in trials}
    if new:
        chosen = list(new.values())
        for i, value in zip(chosen, scorer([proposals[i] for i in chosen]), strict=True):
            trials[networks[i]] = Trial(proposals[i], float(value), {name: float(c[i]) for name, c in costs.items()})
    counts["proposed"] += len(proposals)
    counts["infeasible"] += int((excess > 0).sum())
    counts["repeated"] += int((excess == 0).sum()) - len(new)
    accuracy = np.array([trials[n].accuracy if e == 0 else -e for n, e in zip(networks, excess, strict=True)])
    expense = -costs[first] if first else np.zeros(len(proposals))
    return np.stack([accuracy, expense], axis=1)


def _result(
    trials: tuple[Trial, ...],
    counts: dict[str, int],
    first: str | None,
    limits: Mapping[str, float],
    costings: Mapping[str, Costing],
) -> SearchResult:
    if not trials:
        asked = ", ".join(f"{name} <= {limit:.6g} {costings[name].cost.unit}" for name, limit in limits.items())
        raise CheckFailed(
            f"no architecture that meets all of {asked} was found in {counts['proposed']} proposals",
            hint="each limit alone is reachable; loosen one of them",
        )
    expense = (lambda t: t.costs[first]) if first else (lambda t: 0.0)
    pick = max(trials, key=lambda t: (t.accuracy, -expense(t)))
    return SearchResult(trials, pareto_front(trials, first), pick, **counts)


def pareto_front(trials: Sequence[Trial], cost: str | None) -> tuple[Trial, ...]:
    """Trials that no other beats in both accuracy and `cost`, cheapest first."""
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda t: (t.costs[cost] if cost else 0.0, -t.accuracy)):
        if not front or trial.accuracy > front[-1].accuracy:
            front.append(trial)
    return tuple(front)
