"""The oracle device: what is measured on it is known, so that search and tables can be held to the truth."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from hwnas.cost import Costing
from hwnas.errors import HwnasError
from hwnas.fidelity import score
from hwnas.methods.search.regularized_evolution import RegularizedEvolution
from hwnas.network import Operator, elements
from hwnas.search import search
from hwnas.space import Architecture, SearchSpace
from hwnas.table import latency_cost, open_table
from hwnas.testing.oracle import Oracle
from hwnas.testing.toy import null_device, toy_space

SPACE = toy_space()


def truth(operator: Operator) -> float:
    return 1.0 + elements(operator.output_shape) * (3.0 if operator.precision == "fp32" else 1.0) / 64


def every(space: SearchSpace) -> list[Architecture]:
    options = [choice.options for choice in space.choices]
    return [
        Architecture({c.name: v for c, v in zip(space.choices, values, strict=True)})
        for values in itertools.product(*options)
    ]


def test_a_search_finds_what_the_benchmark_says_is_best_within_the_limit() -> None:
    worth = np.random.default_rng(5).uniform(0.0, 0.01, len(SPACE.choices))

    def accuracy(architecture: Architecture) -> float:
        network = SPACE.lower(architecture)  # one network has one accuracy, whatever else its architecture says
        live = [any(node.name.startswith(c.name.rpartition(".")[0]) for node in network) for c in SPACE.choices]
        return 0.5 + float((SPACE.encode([architecture])[0] * worth * live).sum())

    oracle = Oracle(truth, {a: accuracy(a) for a in every(SPACE)})
    costing = Costing(SPACE, oracle.cost())
    limit = float(np.median(costing(every(SPACE))))
    best = max(oracle.accuracy(a) for a in every(SPACE) if oracle.network_us(SPACE.lower(a)) <= limit)
    result = search(SPACE, RegularizedEvolution(SPACE), oracle.score, {"latency": costing}, {"latency": limit}, 150)
    assert result.pick.accuracy == best and result.pick.costs["latency"] <= limit


def test_a_table_filled_with_noise_lies_above_the_truth_by_less_than_the_noise(tmp_path: Path) -> None:
    operators = [o for o in SPACE.operators() if o.precision == "int8"]
    table = open_table(tmp_path, null_device(), "tvm", "int8")
    Oracle(truth, noise=0.05, seed=1).fill(table, operators)
    for operator in operators:
        row = table.rows[operator]
        assert row.latency_us is not None and row.p90_us is not None
        assert 1.0 <= row.latency_us / truth(operator) < 1.005 < row.p90_us / truth(operator)
    assert open_table(tmp_path, null_device(), "tvm", "int8").rows == table.rows


def test_a_grade_of_the_oracles_table_says_how_far_it_is_off(tmp_path: Path) -> None:
    """By hand: minima of half-normal noise are nearly the truth, so networks are predicted within half a percent."""
    integer = SPACE.restrict({"*precision": ["int8", "fp32"]})
    oracle, tables = Oracle(truth, noise=0.05), []
    for precision in ("fp32", "int8"):
        tables.append(open_table(tmp_path, null_device(), "tvm", precision))
        oracle.fill(tables[-1], [o for o in integer.operators() if o.precision == precision])
    networks = list({integer.lower(a): None for a in every(integer)})
    cost = latency_cost(tables)
    graded = score(np.array([cost(n) for n in networks]), np.array([oracle.network_us(n) for n in networks]))
    assert graded.mape < 0.005 and graded.spearman > 0.99


def test_the_same_seed_measures_the_same() -> None:
    operators = SPACE.operators()[:4]
    one, again, other = (Oracle(truth, noise=0.1, seed=s).measured(operators) for s in (0, 0, 1))
    assert one == again != other


def test_what_the_benchmark_lacks_is_a_failed_row_and_no_score(tmp_path: Path) -> None:
    known, unknown = [o for o in SPACE.operators() if o.precision == "fp32"][:2]
    oracle = Oracle({known: 2.0})
    table = open_table(tmp_path, null_device(), "tvm", "fp32")
    oracle.fill(table, [known, unknown])
    assert table.rows[known].latency_us == 2.0
    assert not table.rows[unknown].ok and "the oracle knows no latency of" in table.rows[unknown].reason
    with pytest.raises(HwnasError, match="the oracle knows no accuracy of"):
        oracle.score([SPACE.smallest()])
    with pytest.raises(HwnasError, match="a share of at least 0, got nan"):
        Oracle({}, noise=float("nan"))
