"""Every native operator's file keeps its contract, and the suite finds what does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwnas import find
from hwnas.errors import HwnasError
from hwnas.export.native.graph import read_graph
from hwnas.export.native.operator import AXIS, Example, operators
from hwnas.testing import LawBroken, check, laws
from hwnas.testing.native import model_of, run_ends
from tests.kinds.files import NATIVE_OPERATOR

NAMES = find.names(AXIS)
COMPILED = "an_example_gives_what_onnx_runtime_gives"  # takes a minute for all


def of_laws(*names: str) -> pytest.MarkDecorator:
    """Every operator with each of these laws of the contract."""
    cases = [(law, name) for law in names for name in NAMES]
    return pytest.mark.parametrize(("law", "name"), cases, ids=[f"{name}-{law}" for law, name in cases])


@of_laws(*(law for law in laws("native_operator") if law != COMPILED))
def test_every_operator(law: str, name: str) -> None:
    laws("native_operator")[law](name)


@pytest.mark.slow
@of_laws(COMPILED)
def test_every_operator_compiled(law: str, name: str) -> None:
    laws("native_operator")[law](name)


def add_package(name: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package outside hwnas with one native operator, neg.py."""
    place = folder / name / "export" / "native" / "operators"
    place.mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    (place / "neg.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv(find.ENVIRONMENT, name)


def test_a_package_outside_adds_an_operator_by_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_package("negating", NATIVE_OPERATOR, tmp_path, monkeypatch)
    check("native_operator", "neg")
    (example,) = find.value(AXIS, "neg", "EXAMPLES")
    model, (x,) = model_of(example, False, 1)
    np.testing.assert_array_equal(run_ends(model, x)[0], -x)


@pytest.mark.parametrize(
    ("package", "before", "after", "told"),
    [
        ("negates_twice", "-1, np.float32", "-2, np.float32", "Neg, seed 0: at most .* what ONNX Runtime gives"),
        ("undeclared", 'Example("Neg"', 'Example("Abs"', "EXAMPLES is a tuple of examples of operators in ONNX"),
        ("of_floats", '"A", "B"),)', '"A", "B"),), {}, True', "Neg of codes"),
        ("no_sentence", "operator.", "operator", "the first docstring line is a sentence"),
    ],
)
def test_the_suite_finds_what_breaks_its_law(
    package: str, before: str, after: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert before in NATIVE_OPERATOR
    add_package(package, NATIVE_OPERATOR.replace(before, after), tmp_path, monkeypatch)
    with pytest.raises(LawBroken, match=told):
        check("native_operator", "neg")


def test_an_operator_of_two_files_is_refused_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_package("relus_twice", NATIVE_OPERATOR.replace('"Neg"', '"Relu"'), tmp_path, monkeypatch)
    with pytest.raises(HwnasError, match=r"'Relu' is in .*activation.py too"):
        operators()


def test_without_the_package_its_operator_is_unsupported() -> None:
    model, _ = model_of(Example("Neg", ((1, "A"),)), False, 0)
    with pytest.raises(HwnasError, match="no kernel covers operator Neg"):
        read_graph(model)
