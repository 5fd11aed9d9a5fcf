"""Random graphs of every supported operator give what ONNX Runtime gives, or are refused; none is wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hwnas.export.native.operator import forms_of, markdown, operators
from tests.native.differential import Outcome, outcomes
from tests.native.random_graphs import random_graph

#: of the graphs made of supported forms, at least this share must compile
LEAST_COMPILED = 0.95
COUNT = 200
SEED = 7000


@pytest.fixture(scope="module")
def judged() -> list[Outcome]:
    return list(outcomes(range(SEED, SEED + COUNT)))


@pytest.mark.slow
def test_no_random_graph_is_wrong(judged: list[Outcome]) -> None:
    wrong = [(o.seed, o.reason, sorted(o.sample.forms)) for o in judged if o.verdict == "wrong"]
    assert not wrong
    # most agree in every bit; where ONNX Runtime refuses too many of them, the generator is at fault
    counts = Counter(o.verdict for o in judged)
    assert counts["equal"] > COUNT / 3 and counts["invalid"] < COUNT / 20


@pytest.mark.slow
def test_what_the_docs_call_supported_compiles(judged: list[Outcome]) -> None:
    supported = [o for o in judged if o.sample.supported and o.verdict != "invalid"]
    compiled = [o for o in supported if o.verdict in ("equal", "within")]
    refused = [(o.seed, o.reason) for o in supported if o.verdict == "refused"]
    assert len(compiled) >= LEAST_COMPILED * len(supported), refused


@pytest.mark.slow
def test_what_the_docs_call_refused_is_refused(judged: list[Outcome]) -> None:
    taken = [o for o in judged if not o.sample.supported and o.verdict in ("equal", "within")]
    # models of views alone count as unsupported and are refused; a refused form may turn out to change nothing
    assert len(taken) <= COUNT / 20, [(o.seed, sorted(o.sample.forms)) for o in taken]


def test_the_generator_makes_every_declared_form() -> None:
    made = {form for seed in range(2500) for form in random_graph(seed).forms}
    declared = {(op, form.name) for op, forms in forms_of().items() for form in forms}
    # operators that the random graphs have none of are tested by their own files' examples
    by_example = {example.operator for module in operators().modules for example in module.EXAMPLES}
    assert made <= declared
    assert {op for op, _ in declared - made} <= by_example - {op for op, _ in made}


def test_the_documented_table_is_what_the_operators_declare() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
    assert markdown() in page.read_text()
