"""The search loop; every sampler keeps its contract."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from hwnas import find
from hwnas.cost import Costing, OperatorCost
from hwnas.errors import CheckFailed, HwnasError
from hwnas.methods.predictor.ridge import Ridge
from hwnas.network import Network, Operator
from hwnas.plug import HWNAS_ALONE, bind, resolve
from hwnas.protocols import Sampler
from hwnas.search import Trial, pareto_front, pick_of, search
from hwnas.space import Architecture, SearchSpace
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.testing import contract

SPACE = resnet_binary(1, 10, (8, 16), 8, 1, ((8, 16), (16, 32)), (1, 2, 3), (1, 2), (3, 5))
LATENCY = Costing(
    SPACE, OperatorCost("latency", "us", lambda o: float(np.prod(o.input_shape) + np.prod(o.output_shape)))
)
SIZE = Costing(SPACE, OperatorCost("size", "bytes", lambda o: float(o.input_shape[0] * o.output_shape[0])))


def toy_score(architectures: list[Architecture]) -> np.ndarray:
    """Deeper, wider and more precise is better: no noise, so the best within a limit is known."""
    worth = {"fp32": 3, "int8": 2, "w1a1": 1}
    return np.array(
        [
            sum(worth[n.operator.precision] * n.operator.output_shape[0] for n in SPACE.lower(a)) / 1e4
            for a in architectures
        ]
    )


@pytest.fixture(params=find.names("methods.search"))
def sampler(request: pytest.FixtureRequest) -> Callable[..., object]:
    return functools.partial(made, f"search.{request.param}")


def made(use: str, space: SearchSpace = SPACE, seed: int = 0) -> Sampler:
    """The sampler of a file of methods/search, given what it asks for."""
    costings = {name: Costing(space, costing.cost) for name, costing in (("latency", LATENCY), ("size", SIZE))}
    given = {"space": space, "seed": seed, "predictor": Ridge(space), "costings": costings, "limits": {"latency": 3e4}}
    found: Sampler = bind(resolve(use, "methods", HWNAS_ALONE, (Sampler,)), {}, given, use)
    return found


test_every_sampler = contract("sampler", *(resolve(f"search.{n}", "methods") for n in find.names("methods.search")))


def test_the_pick_meets_every_limit_and_is_the_best_that_was_scored(sampler: Callable[..., object]) -> None:
    limits = {"latency": 9000.0, "size": 3000.0}
    result = search(SPACE, sampler(SPACE, seed=0), toy_score, {"latency": LATENCY, "size": SIZE}, limits, budget=60)  # type: ignore[arg-type]
    for trial in result.trials:
        assert all(trial.costs[name] <= limit for name, limit in limits.items())
    assert result.pick.accuracy == max(t.accuracy for t in result.trials)
    assert len({SPACE.lower(t.architecture) for t in result.trials}) == len(result.trials) <= 60
    assert result.proposed >= len(result.trials) + result.infeasible + result.repeated - 1


def test_evolution_beats_random_search_on_the_same_budget() -> None:
    def best(name: str) -> float:
        scores = [
            search(
                SPACE,
                resolve(name, "methods")(SPACE, seed=seed),
                toy_score,
                {"latency": LATENCY},
                {"latency": 12000.0},
                80,
                16,
                seed,
            ).pick.accuracy
            for seed in range(3)
        ]
        return float(np.mean(scores))

    assert best("search.regularized_evolution") > best("search.random_search")


def test_an_unreachable_limit_is_refused_at_once_and_names_the_smallest_architecture() -> None:
    with pytest.raises(HwnasError, match=r"the smallest reachable is .* us, by resolution=8 ") as caught:
        search(SPACE, resolve("search.random_search", "methods")(SPACE), never, {"latency": LATENCY}, {"latency": 1.0})
    assert caught.value.exit_code == 2
    smallest = float(re.search(r"reachable is ([\d.e+]+) us", str(caught.value)).group(1))  # type: ignore[union-attr]
    assert smallest == pytest.approx(LATENCY.bounds().low, rel=1e-5)


def never(architectures: Sequence[Architecture]) -> np.ndarray:
    raise AssertionError("nothing may be scored")


def test_limits_that_exclude_each_other_are_refused_at_once_with_the_nearest_architecture() -> None:
    opposed = Costing(SPACE, OperatorCost("size", "bytes", lambda o: 1e6 / float(np.prod(o.input_shape))))
    costings = {"latency": LATENCY, "size": opposed}
    limits = {"latency": LATENCY.bounds().low * 1.001, "size": opposed.bounds().low * 1.001}
    with pytest.raises(HwnasError, match="each limit alone is reachable") as caught:
        search(SPACE, resolve("search.random_search", "methods")(SPACE), never, costings, limits, 20)
    assert caught.value.exit_code == 2
    assert re.search(r"the nearest found has latency = \S+ us, size = \S+ bytes, by resolution=", str(caught.value))


def test_an_exact_cost_above_its_bound_decides_and_is_what_a_trial_holds() -> None:
    asked: list[Network] = []

    def exact(network: Network) -> float:
        asked.append(network)
        return 1.25 * float(SIZE.cost(network))

    limits = {"latency": 9000.0, "size": 3000.0}
    sampler = resolve("search.regularized_evolution", "methods")(SPACE, seed=0)
    costings = {"latency": LATENCY, "size": SIZE}
    result = search(SPACE, sampler, toy_score, costings, limits, 40, 4, exact={"size": exact})
    assert len(result.trials) == 40
    for trial in result.trials:
        assert trial.costs["size"] == 1.25 * float(SIZE.cost(SPACE.lower(trial.architecture))) <= 3000.0
    assert len(asked) == len(set(asked)), "a network is priced once"
    assert all(SIZE.cost(network) <= 3000.0 for network in asked), "what the bound excludes is not priced"


def test_a_search_whose_exact_costs_never_fit_ends_and_names_the_nearest() -> None:
    count = 0

    def exact(network: Network) -> float:
        nonlocal count
        count += 1
        return 4000.0

    sampler = resolve("search.random_search", "methods")(SPACE)
    costings = {"latency": LATENCY, "size": SIZE}
    with pytest.raises(CheckFailed, match=r"the nearest has latency = \S+ us, size = 4000 bytes"):
        search(SPACE, sampler, never, costings, {"latency": 9e4, "size": 3000.0}, 10, 4, exact={"size": exact})
    assert count < 150


@pytest.mark.parametrize("limits", [{"latency": 30000.0}, {}])
def test_what_contains_a_block_without_a_cost_is_never_scored(limits: dict[str, float]) -> None:
    def unmeasured(o: Operator) -> float:
        return float("inf") if o.precision == "w1a1" else LATENCY.cost.of(o)

    costing = Costing(SPACE, OperatorCost("latency", "us", unmeasured))
    for name in find.names("methods.search"):
        sampler = made(f"search.{name}", SPACE, 1)
        result = search(SPACE, sampler, toy_score, {"latency": costing}, limits, 20, 4)
        assert result.trials and all(np.isfinite(t.costs["latency"]) for t in result.trials)


def test_near_ties_are_told_apart_by_validation_loss() -> None:
    def trial(accuracy: float, loss: float | None, cost: float) -> Trial:
        return Trial(SPACE.smallest(), accuracy, {"latency": cost}, loss)

    best, calm, cheap, far = (
        trial(0.98, 0.9, 5.0),
        trial(0.975, 0.1, 4.0),
        trial(0.98, None, 1.0),
        trial(0.90, 0.0, 1.0),
    )
    assert pick_of([best, calm, far], "latency", 360) is calm, "one standard error is 1.1 points of 360 images"
    assert pick_of([best, calm, far], "latency", 100_000) is best, "and 0.07 of 100,000"
    assert pick_of([best, calm, far], "latency", None) is best
    assert pick_of([best, cheap], "latency", 360) is cheap, "without a loss a tie goes to the cheaper"


def test_a_search_with_losses_picks_by_them_and_keeps_them() -> None:
    def scores(architectures: Sequence[Architecture]) -> np.ndarray:
        accuracy = np.full(len(architectures), 0.9)
        return np.stack([accuracy, LATENCY(architectures) / 1e4], axis=1)

    sampler = resolve("search.random_search", "methods")(SPACE)
    result = search(SPACE, sampler, scores, {"latency": LATENCY}, {"latency": 2e4}, 30, images=360)
    assert result.pick.loss == min(t.loss for t in result.trials if t.loss is not None)


@pytest.mark.parametrize("wrong", [np.zeros((3, 3)), np.zeros(1), np.full(100, np.nan)])
def test_a_scorer_that_returns_something_else_is_refused(wrong: np.ndarray) -> None:
    sampler = resolve("search.random_search", "methods")(SPACE)
    with pytest.raises(HwnasError, match="a scorer must return"):
        search(SPACE, sampler, lambda a: wrong[: len(a)], {"latency": LATENCY}, {"latency": 2e4}, 30)


def test_a_space_smaller_than_the_budget_ends_the_search() -> None:
    fixed = {c.name: [c.options[0]] for c in SPACE.choices if c.name != "s0.depth"}
    small = SPACE.restrict(fixed)
    result = search(
        small,
        resolve("search.random_search", "methods")(small),
        toy_score,
        {"latency": Costing(small, LATENCY.cost)},
        {"latency": 1e9},
        50,
    )
    assert len(result.trials) == 3


def test_the_front_holds_what_nothing_beats() -> None:
    trials = [
        Trial(SPACE.smallest(), accuracy, {"latency": cost})
        for accuracy, cost in ((0.5, 1.0), (0.4, 2.0), (0.7, 3.0), (0.7, 4.0), (0.9, 5.0))
    ]
    assert [(t.accuracy, t.costs["latency"]) for t in pareto_front(trials, "latency")] == [
        (0.5, 1.0),
        (0.7, 3.0),
        (0.9, 5.0),
    ]


def test_a_choice_that_could_not_be_measured_is_never_scored(sampler: Callable[..., object]) -> None:
    def failing(operator: Operator) -> float:
        wide = operator.output_shape[0] == 16 and operator.precision == "w1a1"
        return float("inf") if wide else float(np.prod(operator.input_shape) + np.prod(operator.output_shape))

    latency = Costing(SPACE, OperatorCost("latency", "us", failing))
    result = search(SPACE, sampler(SPACE, seed=0), toy_score, {"latency": latency}, {}, budget=40)  # type: ignore[arg-type]
    assert result.infeasible > 0
    assert all(np.isfinite(trial.costs["latency"]) for trial in result.trials)


class Measured:
    """`toy_score` in a unit."""

    def __init__(self, unit: str) -> None:
        self.unit = unit

    def __call__(self, architectures: Sequence[Architecture], /) -> np.ndarray:
        return toy_score(list(architectures))


@pytest.mark.parametrize(
    ("scorer", "shown"),
    [
        (Measured("%"), r"best \d+\.\d\d%, "),
        (Measured("dB"), r"best \d+\.\d\d dB, "),
        (toy_score, r"best 0\.\d{1,4}, "),
    ],
)
def test_progress_shows_the_best_score_in_the_scorers_unit_and_what_only_ranks_as_a_number(
    scorer: Callable[..., np.ndarray], shown: str
) -> None:
    notes: list[str] = []
    sampler = resolve("search.random_search", "methods")(SPACE)
    result = search(
        SPACE, sampler, scorer, {"latency": LATENCY}, {"latency": 2e4}, 8,
        progress=lambda done, total, note: notes.append(note),
    )  # fmt: skip
    assert notes and all(re.match(shown, note) for note in notes), notes
    assert result.unit == getattr(scorer, "unit", "")
