"""What a method of a stranger's may answer wrongly is refused in one line that says what must hold; nothing is taken
for an answer that is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.cost import Costing
from hwnas.errors import HwnasError
from hwnas.methods.rule.single_path import SinglePath
from hwnas.methods.scorer.proxy import Proxy
from hwnas.methods.search.predicted import Predicted
from hwnas.methods.search.regularized_evolution import RegularizedEvolution
from hwnas.search import scores_of, search
from hwnas.space import Architecture
from hwnas.supernet import WeightSharing, extract
from hwnas.testing.toy import toy_cost, toy_data, toy_space
from hwnas.train import Schedule, train

SPACE = toy_space()
LATENCY = Costing(SPACE, toy_cost())
SMALL, LARGE = SPACE.smallest(), SPACE.largest()
ENOUGH = {"latency": LATENCY.bounds().high}


class Asked:
    """A sampler that answers what it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def ask(self, n: int) -> Any:
        return self.answer

    def tell(self, architectures: Any, scores: np.ndarray) -> None:
        pass


def flat(architectures: Any) -> np.ndarray:
    return np.full(len(architectures), 0.5)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([SMALL] * 3, "asked for 1 architectures must give a list of at most as many, got 3"),
        (None, "at most as many, got None"),
        ([Architecture({**SMALL, "s0.width": 12345})], "of the space: s0.width must be one of .*, got 12345"),
        ([Architecture({})], "must propose architectures of the space: .* must give 'resolution'"),
        ([7], "must be values by name of choice, got 7"),
    ],
)
def test_a_sampler_s_proposals_are_of_the_space_and_as_many_as_asked(answer: Any, told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        search(SPACE, Asked(answer), flat, {"latency": LATENCY}, ENOUGH, budget=4, batch=1)


def test_a_proposal_may_be_a_plain_mapping() -> None:
    found = search(SPACE, Asked([dict(LARGE)]), flat, {"latency": LATENCY}, ENOUGH, budget=4, batch=1)
    assert LARGE in [trial.architecture for trial in found.trials]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([0.5, np.nan], r"finite scores, got nan for 1 of 2 architectures, the first of them resolution=8"),
        ([np.inf, 0.5], "finite scores, got inf for 1 of 2"),
        ([[0.5, 1.0], [-np.inf, 1.0]], "finite scores, got -inf"),
        ([0.5], r"shape \(2,\) or \(2, 2\), got \(1,\)"),
        (0.5, r"got \(\)"),
        (np.zeros((2, 3)), r"got \(2, 3\)"),
    ],
)
def test_a_scorer_gives_a_finite_score_an_architecture(answer: Any, told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        scores_of(lambda architectures: np.asarray(answer), [SMALL, LARGE])


def test_a_loss_that_a_scorer_does_not_know_is_not_a_number_and_allowed() -> None:
    found = scores_of(lambda architectures: np.array([[0.5, np.nan]]), [SMALL])
    assert found[0, 0] == 0.5 and np.isnan(found[0, 1])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda n: (np.full(n, np.nan), np.ones(n)), "some of them not finite or below 0"),
        (lambda n: (np.zeros(n), -np.ones(n)), "some of them not finite or below 0"),
        (lambda n: (np.zeros(3), np.ones(3)), r"got shapes \(3,\) and \(3,\)"),
        (lambda n: (np.zeros((n, 1)), np.ones((n, 1))), "got shapes"),
        (lambda n: np.zeros(n), "a mean and a deviation of every code"),
        (lambda n: None, "a mean and a deviation of every code"),
    ],
)
def test_a_predictor_gives_a_mean_and_a_deviation_of_every_code(answer: Callable[[int], Any], told: str) -> None:
    class Answers:
        def fit(self, codes: np.ndarray, scores: np.ndarray) -> None: ...

        def predict(self, codes: np.ndarray) -> Any:
            return answer(len(codes))

    sampler = Predicted(SPACE, Answers(), {"latency": LATENCY}, ENOUGH, initial=1, pool=20)
    sampler.tell([SMALL], np.array([0.5]))
    with pytest.raises(HwnasError, match=told):
        sampler.ask(2)


def test_a_predictor_that_says_the_same_of_all_leaves_the_order_in_which_they_were_drawn() -> None:
    class Flat:
        def fit(self, codes: np.ndarray, scores: np.ndarray) -> None: ...

        def predict(self, codes: np.ndarray) -> tuple[list[float], list[int]]:
            return [0.5] * len(codes), [1] * len(codes)

    flat_one, fresh = (Predicted(SPACE, Flat(), {"latency": LATENCY}, ENOUGH, initial=1, pool=20) for _ in range(2))
    flat_one.tell([SMALL], np.array([0.5]))
    assert flat_one.ask(5) == [one for one in fresh.ask(6) if one != SMALL][:5]


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -1.0, 1e300, None, "high"])
def test_a_proxy_gives_a_number_that_can_be_ranked(figure: Any) -> None:
    with pytest.raises(HwnasError, match=r"a proxy must give a number from 0 to 1e\+12, got .* of resolution=8"):
        Proxy(SPACE, lambda net: figure)([SMALL])


def test_a_metric_below_0_is_better_than_whatever_exceeds_a_limit() -> None:
    """Else a sampler of a regression would walk out of the limits: there every score is below 0."""
    told: list[tuple[float, bool]] = []

    class Listens(RegularizedEvolution):
        def tell(self, architectures: Any, scores: np.ndarray) -> None:
            fits = LATENCY(architectures) <= limit
            told.extend(zip(scores[:, 0].tolist(), fits.tolist(), strict=True))
            super().tell(architectures, scores)

    def errors(architectures: Any) -> np.ndarray:
        return -1000.0 - LATENCY(architectures)

    bounds = LATENCY.bounds()
    limit = bounds.low * 0.7 + bounds.high * 0.3
    found = search(SPACE, Listens(SPACE, 0), errors, {"latency": LATENCY}, {"latency": limit}, budget=30, batch=5)
    inside, outside = ([score for score, fits in told if fits is kept] for kept in (True, False))
    assert inside and outside and min(inside) > max(outside)
    assert found.pick.accuracy == -1000.0 - bounds.low, "what is kept is the metric itself"


class Rule(SinglePath):
    """A rule with something wrong."""

    def __init__(self, wrong: Callable[[torch.Tensor], Any]) -> None:
        super().__init__(SPACE, 0)
        self.wrong = wrong

    def steps(self, net: Any, batch: Any) -> Iterator[Any]:
        made = self.wrong(torch.nn.functional.cross_entropy(net(batch.given, SMALL), batch.targets))
        if made is not None:
            yield made


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda loss: loss, r"must yield \(group or groups, losses\), got Tensor"),
        (lambda loss: ("wights", [loss]), "unknown group of the training rule 'wights'; nearest: weights"),
        (lambda loss: ("weights", [loss.detach()]), "one number with a gradient, got a tensor"),
        (lambda loss: ("weights", [torch.stack([loss, loss])]), "one number with a gradient, got 2 numbers"),
        (lambda loss: ("weights", [1.5]), "one number with a gradient, got 1.5"),
        (lambda loss: ("weights", [loss * float("nan")]), "the training loss became nan at step 0"),
        (lambda loss: ("weights", []), "gave no loss in 2 steps: nothing was trained"),
        (lambda loss: None, "gave no loss in 2 steps: nothing was trained"),
    ],
)
def test_a_rule_yields_losses_of_its_groups(wrong: Callable[[torch.Tensor], Any], told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        train(WeightSharing(SPACE), Rule(wrong), toy_data(), Schedule(1, 48), workers=0)


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (lambda net: {"weights": net.parameters(), "alpha": []}, "group 'alpha' .* its parameters are none"),
        (lambda net: {"weights": net.parameters(), "more": net.parameters()}, "'more' .* are in another group too"),
    ],
)
def test_a_parameter_is_in_one_group_and_a_group_has_some(groups: Callable[[Any], Any], told: str) -> None:
    rule = Rule(lambda loss: ("weights", [loss]))
    rule.groups = groups  # type: ignore[method-assign]
    with pytest.raises(HwnasError, match=told):
        train(WeightSharing(SPACE), rule, toy_data(), Schedule(1, 48), workers=0)


class Lacks(torch.nn.Module):
    """A wrapper's supernet that keeps something back."""

    def __init__(self, spoilt: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__()
        self.net, self.space, self.spoilt = WeightSharing(SPACE), SPACE, spoilt

    def tensors(self, node: Any, selection: Any) -> Any:
        return self.spoilt(dict(self.net.tensors(node, selection)))


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        (lambda held: {}, r"must give stem its conv.weight \(8, 1, 3, 3\), got none"),
        (lambda held: {n: v[:1] for n, v in held.items()}, r"must give stem its conv.weight \(8, 1, 3, 3\), got \(1, "),
    ],
)
def test_a_net_is_taken_out_with_every_tensor_in_its_shape(spoilt: Callable[[Any], Any], told: str) -> None:
    """What a supernet lacks would else ship as it was drawn, and what is too small be spread over the rest."""
    with pytest.raises(HwnasError, match=told):
        extract(Lacks(spoilt), SMALL)  # type: ignore[arg-type]
