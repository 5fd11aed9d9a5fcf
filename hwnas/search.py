"""The search loop: ask, keep what fits the limits, score, tell; ends with the Pareto front and the pick.

Costs are known before accuracy, so an architecture over a limit is never scored: it is told as worse than every
feasible one in every objective, the worse the further it is from its limit (constrained domination, Deb 2000).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hwnas.confidence import unpaired_error
from hwnas.cost import Costing
from hwnas.errors import CheckFailed, HwnasError
from hwnas.feasible import nearest
from hwnas.network import Network
from hwnas.protocols import Exact, HasUnit, Sampler, Scorer, Stateful
from hwnas.space import Architecture, SearchSpace
from hwnas.units import positive, readable_score

ASKS = 200  # times what filling the budget needs: a space whose feasible part is that thin is given up
EXACT = 10  # networks priced exactly for each that may be scored; beyond it the bound prunes too little to go on
FAR = 1e6  # what an infinite excess counts as: samplers need finite scores


@dataclass(frozen=True)
class Trial:
    """A scored architecture: accuracy in [0, 1], costs by name in their own units, validation loss where known."""

    architecture: Architecture
    accuracy: float
    costs: Mapping[str, float]
    loss: float | None = None


@dataclass(frozen=True)
class SearchResult:
    """Everything scored, the Pareto front (accuracy against the first limited cost), the pick, and honest counts.
    `unit` is that of the accuracies, "" where scores only rank."""

    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    pick: Trial
    proposed: int
    infeasible: int
    repeated: int
    unit: str = ""


def check_reachable(costings: Mapping[str, Costing], limits: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """The exact reachable (low, high) of every cost. HwnasError, at once, for limits that no architecture meets."""
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
    if len(limits) > 1:
        found = nearest(costings, limits)
        if found.excess > 0 and found.proven:
            space = next(iter(costings.values())).space.name
            raise HwnasError(
                f"no architecture of {space} meets all of {_listed(costings, limits, '<=')}: the nearest found has "
                f"{_listed(costings, found.costs, '=')}, by {compact(found.architecture)}",
                hint="each limit alone is reachable; loosen one of them",
            )
    return ranges


def _listed(costings: Mapping[str, Costing], values: Mapping[str, float], sign: str) -> str:
    return ", ".join(f"{name} {sign} {value:.6g} {costings[name].cost.unit}" for name, value in values.items())


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
    exact: Mapping[str, Exact] | None = None,
    images: int | None = None,
    memory: Memory | None = None,
) -> SearchResult:
    """Scores at most `budget` different networks that meet every limit, and picks the best of them.

    The cheapest architecture by each limited cost is scored first, so a search ends with an answer where there is one.
    `objectives` told are accuracy and the negated first cost. A cost named in `exact` is what its entry says; its
    costing, a lower bound, only prunes. `images`: how many examples an accuracy is of; see `pick_of`. `memory` holds
    the state of a sampler that has one, so that an interrupted search goes on; others are asked again, and their scores
    are kept.
    """
    check_reachable(costings, limits)
    state = _Search(space, scorer, costings, limits, exact or {})
    queue = state.seeds(batch, seed)
    asked, most = 0, ASKS * max(1, budget // batch)
    keeps = memory if isinstance(sampler, Stateful) else None
    rounds: list[list[list[int]]] = []
    stored = keeps.read() if keeps else None
    if stored is not None and isinstance(sampler, Stateful):
        rounds, queue = stored["rounds"], []
        for codes in rounds:
            state.told(space.decode(np.asarray(codes)))
        asked = len(rounds)
        sampler.load(stored["sampler"])
    while len(state.trials) < budget and asked < most and not state.exhausted(budget):
        proposals = queue[:budget] or _asked(sampler, space, min(batch, budget - len(state.trials)))
        queue, asked = [], asked + 1
        if not proposals:
            break
        sampler.tell(proposals, state.told(proposals))
        if keeps and isinstance(sampler, Stateful):
            rounds.append(space.encode(proposals).tolist())
            keeps.write({"rounds": rounds, "sampler": sampler.state()})
        if progress:
            best = max((t.accuracy for t in state.trials.values()), default=0.0)
            shown = readable_score(best, unit_of(scorer))
            progress(len(state.trials), budget, f"best {shown}, {state.proposed} proposed")
    return state.result(images)


def _asked(sampler: Sampler, space: SearchSpace, most: int) -> list[Architecture]:
    """The sampler's next proposals, checked; HwnasError where they are too many or not of the space."""
    proposals = sampler.ask(most)
    if not isinstance(proposals, Sequence) or len(proposals) > most:
        got = len(proposals) if isinstance(proposals, Sequence) else repr(proposals)
        raise HwnasError(f"a sampler asked for {most} architectures must give a list of at most as many, got {got}")
    try:
        return [space.architecture(one) for one in proposals]
    except HwnasError as problem:
        raise HwnasError(f"a sampler must propose architectures of the space: {problem}") from None


class Memory(Protocol):
    """Where a search keeps how far it is: plain values, None where there is nothing yet."""

    def read(self) -> Any | None: ...

    def write(self, value: Any) -> None: ...


def decoded(
    architecture: Architecture,
    scorer: Scorer,
    costings: Mapping[str, Costing],
    limits: Mapping[str, float],
    exact: Mapping[str, Exact] | None = None,
) -> SearchResult:
    """The result of a search that a decoder made: one trial. CheckFailed where it does not keep a limit."""
    state = _Search(next(iter(costings.values())).space, scorer, costings, limits, exact or {})
    state.told([architecture])
    return state.result(None)


class _Search:
    """What one search knows so far."""

    def __init__(
        self,
        space: SearchSpace,
        scorer: Scorer,
        costings: Mapping[str, Costing],
        limits: Mapping[str, float],
        exact: Mapping[str, Exact],
    ) -> None:
        self.space, self.scorer, self.costings, self.limits, self.exact = space, scorer, costings, limits, exact
        self.first = next(iter(limits), next(iter(costings), None))
        bound = self.costings[self.first].bounds().high if self.first else 1.0
        self.most = limits.get(self.first or "", bound)
        self.trials: dict[Network, Trial] = {}
        self.networks: dict[Architecture, Network] = {}
        self.priced: dict[Network, dict[str, float]] = {}
        self.closest: tuple[float, dict[str, float]] | None = None
        self.proposed = self.infeasible = self.repeated = 0

    def exhausted(self, budget: int) -> bool:
        """Whether every architecture was proposed, or too many were priced exactly for one that fits."""
        return len(self.networks) >= self.space.size or len(self.priced) >= EXACT * budget

    def seeds(self, count: int, seed: int) -> list[Architecture]:
        """The cheapest architecture by every limited cost, one near all limits at once, and random feasible ones found
        by costing many at once."""
        first = [self.costings[name].bounds().smallest for name in self.limits]
        if len(self.limits) > 1:
            first.append(nearest(self.costings, self.limits).architecture)
        rng = np.random.default_rng((seed, 0))
        extents = np.array([len(choice.options) for choice in self.space.choices])
        codes = rng.integers(0, extents, size=(20_000, len(extents)))
        fits = np.ones(len(codes), dtype=bool)
        for name, limit in self.limits.items():
            fits &= self.costings[name].of_codes(codes) <= limit
        return list(dict.fromkeys([*first, *self.space.decode(codes[fits][:count])]))

    def told(self, proposals: Sequence[Architecture]) -> np.ndarray:
        """Scores the new feasible proposals; what the sampler is told, (n, 2): accuracy and negated first cost."""
        bound = {name: costing(proposals) for name, costing in self.costings.items()}
        costs = [{name: float(values[i]) for name, values in bound.items()} for i in range(len(proposals))]
        networks = [self._network(architecture) for architecture in proposals]
        excess = np.array([self._excess(network, cost) for network, cost in zip(networks, costs, strict=True)])
        new = {
            networks[i]: i for i in range(len(proposals)) if excess[i] == 0 and networks[i] not in self.trials
        }  # fmt: skip
        if new:
            scores = scores_of(self.scorer, [proposals[i] for i in new.values()])
            for i, (accuracy, loss) in zip(new.values(), scores, strict=True):
                known = None if math.isnan(loss) else float(loss)
                self.trials[networks[i]] = Trial(proposals[i], float(accuracy), costs[i], known)
        self.proposed += len(proposals)
        self.infeasible += int((excess > 0).sum())
        self.repeated += int((excess == 0).sum()) - len(new)
        return np.array([self._objectives(*one) for one in zip(networks, excess, costs, strict=True)])

    def _network(self, architecture: Architecture) -> Network:
        if architecture not in self.networks:
            self.networks[architecture] = self.space.lower(architecture)
        return self.networks[architecture]

    def _excess(self, network: Network, costs: dict[str, float]) -> float:
        """By which shares the limits are exceeded, together; what the bounds let through is priced exactly, once, and
        `costs` then hold that."""
        over = self._over(costs)
        if over == 0 and self.exact:
            if network not in self.priced:
                self.priced[network] = {name: price(network) for name, price in self.exact.items()}
            costs.update(self.priced[network])
            over = self._over(costs)
        exactly = not self.exact or network in self.priced  # a bound alone would promise too much
        if over > 0 and exactly and (self.closest is None or over < self.closest[0]):
            self.closest = (over, {name: costs[name] for name in self.limits})
        return over

    def _over(self, costs: Mapping[str, float]) -> float:
        if not all(map(math.isfinite, costs.values())):  # it contains a block that cannot be measured
            return FAR
        return min(FAR, sum(max(0.0, costs[name] / limit - 1.0) for name, limit in self.limits.items()))

    def _objectives(self, network: Network, excess: float, costs: Mapping[str, float]) -> tuple[float, float]:
        """Every feasible architecture is better in both than every infeasible one: its first cost is at most `most`,
        and a metric below 0 (of a task whose metric is no share) is told as one above -1, in the same order."""
        if excess > 0:
            return -1.0 - excess, -self.most * (1.0 + excess)
        score = self.trials[network].accuracy
        return score if score >= 0 else score / (1.0 - score), -costs[self.first] if self.first else 0.0

    def result(self, images: int | None) -> SearchResult:
        """The front and the pick; CheckFailed where nothing that meets the limits was found."""
        if not self.trials:
            told = ""
            if self.closest is not None:
                told = f"; the nearest has {_listed(self.costings, self.closest[1], '=')}"
            raise CheckFailed(
                f"no architecture that meets all of {_listed(self.costings, self.limits, '<=')} was found "
                f"in {self.proposed} proposals{told}",
                hint="each limit alone is reachable by its bound; loosen one of them",
            )
        trials = tuple(self.trials.values())
        pick = pick_of(trials, self.first, images)
        front, unit = pareto_front(trials, self.first), unit_of(self.scorer)
        return SearchResult(trials, front, pick, self.proposed, self.infeasible, self.repeated, unit)


def unit_of(scorer: Scorer) -> str:
    """The unit of a scorer's first column; "" where it does not say, and scores only rank."""
    return str(scorer.unit) if isinstance(scorer, HasUnit) else ""


def scores_of(scorer: Scorer, architectures: Sequence[Architecture]) -> np.ndarray:
    """Accuracy and loss float64 (n, 2); a loss that is not given is NaN."""
    count = len(architectures)
    given = np.asarray(scorer(architectures), dtype=np.float64)
    if given.shape not in {(count,), (count, 2)}:
        raise HwnasError(
            "a scorer must return one accuracy an architecture, or accuracy and loss: "
            f"shape ({count},) or ({count}, 2), got {given.shape}"
        )
    scores = given if given.ndim == 2 else np.stack([given, np.full(count, np.nan)], axis=1)
    wrong = ~np.isfinite(scores[:, 0])
    if wrong.any():
        raise HwnasError(
            f"a scorer must return finite scores, got {scores[wrong, 0][0]} for {int(wrong.sum())} of {count} "
            f"architectures, the first of them {compact(architectures[int(wrong.argmax())])}"
        )
    return scores


def pick_of(trials: Sequence[Trial], cost: str | None, images: int | None) -> Trial:
    """The most accurate; those that come within one standard error of it (of the difference of two accuracies on
    `images` examples) are told apart by their validation loss, which counts every example by degrees. Ties go to the
    cheaper one."""
    expense: Callable[[Trial], float] = (lambda t: t.costs[cost]) if cost else (lambda t: 0.0)
    best = max(trials, key=lambda t: (t.accuracy, -expense(t)))
    if not images:
        return best
    if any(t.loss is None for t in trials):  # scores of another kind, of which no standard error is known
        return best
    near = [t for t in trials if best.accuracy - t.accuracy <= unpaired_error(best.accuracy, t.accuracy, images)]
    return min(near, key=lambda t: (t.loss, -t.accuracy, expense(t)))


def pareto_front(trials: Sequence[Trial], cost: str | None) -> tuple[Trial, ...]:
    """Trials that no other beats in both accuracy and `cost`, cheapest first."""
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda t: (t.costs[cost] if cost else 0.0, -t.accuracy)):
        if not front or trial.accuracy > front[-1].accuracy:
            front.append(trial)
    return tuple(front)
