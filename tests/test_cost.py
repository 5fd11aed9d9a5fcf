"""Costs: one network, a space at once, and the exact range, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hwnas.cost import Costing, OperatorCost
from hwnas.errors import HwnasError
from hwnas.feasible import nearest
from hwnas.network import Operator, elements
from hwnas.space import Mix, SearchSpace
from hwnas.spaces.resnet_binary import resnet_binary

SPACE = resnet_binary(1, 10, (8, 16), 8, 1, ((8, 16), (16, 32)), (1, 2), (1, 2), (3,))
RATES = {"fp32": 3.0, "int8": 1.25, "w1a1": 0.4}


def price(operator: Operator) -> float:
    """A made-up cost with no order in it: precision, sizes, and a penalty for conversions."""
    base = RATES[operator.precision] * (elements(operator.input_shape) + 3 * elements(operator.output_shape))
    return base + (700.0 if operator.kind == "convert" else 0.0)


def all_codes(space: SearchSpace) -> np.ndarray:
    return np.array(list(itertools.product(*(range(len(c.options)) for c in space.choices))))


@pytest.mark.parametrize("combine", ["sum", "max"])
@pytest.mark.parametrize("slope", [1.0, 0.8])
def test_a_space_at_once_costs_what_its_networks_cost_one_by_one(combine: str, slope: float) -> None:
    cost = OperatorCost("latency", "us", price, combine, slope, 5.0)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    drawn = [SPACE.random(rng) for _ in range(200)]
    expected = [cost(SPACE.lower(architecture)) for architecture in drawn]
    np.testing.assert_allclose(Costing(SPACE, cost)(drawn), expected, rtol=1e-12)


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_the_reachable_range_is_exact(combine: str) -> None:
    costing = Costing(SPACE, OperatorCost("latency", "us", price, combine))  # type: ignore[arg-type]
    bounds, everything = costing.bounds(), costing.of_codes(all_codes(SPACE))
    assert bounds.low == pytest.approx(everything.min())
    assert bounds.high == pytest.approx(everything.max())
    assert costing([bounds.smallest])[0] == bounds.low


def test_what_could_not_be_measured_is_out_of_the_reachable_range() -> None:
    def failing(operator: Operator) -> float:
        return float("inf") if operator.precision == "int8" else price(operator)

    costing = Costing(SPACE, OperatorCost("latency", "us", failing, slope=0.8, intercept=5.0))
    bounds, everything = costing.bounds(), costing.of_codes(all_codes(SPACE))
    finite = everything[np.isfinite(everything)]
    assert 0 < len(finite) < len(everything)
    assert (bounds.low, bounds.high) == (pytest.approx(finite.min()), pytest.approx(finite.max()))
    assert np.isfinite(costing([bounds.smallest, bounds.largest])).all()


def test_a_space_that_cannot_be_measured_at_all_is_refused() -> None:
    costing = Costing(SPACE, OperatorCost("latency", "us", lambda operator: float("inf")))
    with pytest.raises(HwnasError, match="has a block whose latency could not be measured; hint: hwnas measure"):
        costing.bounds()


def test_the_expected_cost_of_a_soft_selection_is_differentiable() -> None:
    logits = torch.zeros(3, requires_grad=True)
    soft = {**SPACE.largest(), "s0.b0.precision": Mix(("fp32", "int8", "w1a1"), torch.softmax(logits, 0))}
    cost = OperatorCost("latency", "us", price)
    expected = cost(SPACE.lower(soft))
    hard = [cost(SPACE.lower({**soft, "s0.b0.precision": p})) for p in ("fp32", "int8", "w1a1")]
    assert expected.item() == pytest.approx(np.mean(hard))
    expected.backward()
    assert logits.grad is not None and logits.grad[2] < 0 < logits.grad[0], "cheaper options gain probability"


def test_an_operator_without_a_cost_is_named_before_any_search() -> None:
    def missing(operator: Operator) -> float:
        raise HwnasError(f"no row for {operator}")

    with pytest.raises(HwnasError, match="no row for"):
        Costing(SPACE, OperatorCost("latency", "us", missing))


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_blocks_without_a_finite_cost_are_outside_the_reachable_range(combine: str) -> None:
    def unmeasured(operator: Operator) -> float:
        return float("inf") if operator.precision == "w1a1" or operator.output_shape[0] == 32 else price(operator)

    costing = Costing(SPACE, OperatorCost("latency", "us", unmeasured, combine))  # type: ignore[arg-type]
    everything = costing.of_codes(all_codes(SPACE))
    finite = everything[np.isfinite(everything)]
    bounds = costing.bounds()
    assert len(finite) < len(everything)
    assert (bounds.low, bounds.high) == (pytest.approx(finite.min()), pytest.approx(finite.max()))
    assert costing([bounds.smallest, bounds.largest]) == pytest.approx([bounds.low, bounds.high])


def test_a_cost_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(HwnasError, match="is not a number"):
        Costing(SPACE, OperatorCost("latency", "us", lambda operator: float("nan")))


def test_limits_that_can_be_kept_together_are_told_from_those_that_cannot() -> None:
    """Against brute force, for pairs and triples of limits from very tight to loose."""
    costings = {
        "latency": Costing(SPACE, OperatorCost("latency", "us", price)),
        "size": Costing(SPACE, OperatorCost("size", "bytes", lambda o: 1e6 / (elements(o.input_shape) + 7), "sum")),
        "peak": Costing(SPACE, OperatorCost("peak", "bytes", lambda o: float(elements(o.input_shape)), "max")),
    }
    everything = {name: costing.of_codes(all_codes(SPACE)) for name, costing in costings.items()}
    rng, unsure = np.random.default_rng(0), 0
    for _ in range(150):
        names = list(rng.choice(list(costings), size=rng.integers(2, 4), replace=False))
        limits = {name: float(np.quantile(everything[name], rng.uniform(0, 0.6))) for name in names}
        possible = bool(np.all([everything[name] <= limits[name] for name in names], axis=0).any())
        found = nearest(costings, limits)
        keeps = all(float(costings[name]([found.architecture])[0]) <= limits[name] for name in names)
        assert keeps == (found.excess <= 0)
        assert not (found.proven and possible), "what can be kept must never be called impossible"
        assert not keeps or possible
        unsure += not keeps and not found.proven
    assert unsure < 15, "the answer is exact in nine of ten cases"
