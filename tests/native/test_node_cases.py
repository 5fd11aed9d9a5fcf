"""ONNX's own node tests: none that compiles is wrong. All of them: benchmarks/onnx_node_tests.py."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.native import node_cases
from tests.native.differential import outcomes
from tests.native.node_cases import Attempt, attempts, cases
from tests.native.random_tensors import random_tensors

#: one case in so many is tried here
SHARE = 7
COUNT, SEED = 40, 5000


@pytest.fixture(scope="module")
def tried() -> list[Attempt]:
    return list(attempts(list(cases())[::SHARE]))


@pytest.mark.slow
def test_no_case_of_a_share_is_wrong(tried: list[Attempt]) -> None:
    assert not [attempt for attempt in tried if attempt.verdict == "wrong"]
    counts = Counter((attempt.way, attempt.verdict) for attempt in tried)
    assert all(counts[way, "equal"] >= 3 for way in node_cases.WAYS), counts


@pytest.mark.slow
def test_a_refusal_is_one_line_that_names_what_is_refused(tried: list[Attempt]) -> None:
    refused = [attempt.reason for attempt in tried if attempt.verdict == "refused"]
    assert refused and not [reason for reason in refused if "\n" in reason]
    assert not [reason for reason in refused if "cannot be read" in reason or "error in hwnas" in reason]


@pytest.mark.slow
def test_a_case_that_expects_something_else_is_found_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases()["test_relu"]
    (inputs, outputs), *_ = case.data_sets
    changed = outputs[0] + np.float32(0.1)
    monkeypatch.setattr(case, "data_sets", [(inputs, [changed])])
    (batched,) = [attempt for attempt in attempts(["test_relu"]) if attempt.verdict != "refused"]
    assert (batched.way, batched.verdict) == ("batch of one", "wrong") and "off by 0.1" in batched.reason


@pytest.mark.slow
def test_no_random_graph_of_tensors_is_wrong_and_nearly_all_compile() -> None:
    judged = list(outcomes(range(SEED, SEED + COUNT), make=random_tensors))
    assert not [(o.seed, o.reason) for o in judged if o.verdict == "wrong"]
    compiled = [o for o in judged if o.verdict in ("equal", "within")]
    assert len(compiled) > 0.9 * COUNT, [(o.seed, o.reason) for o in judged if o.verdict == "refused"]
