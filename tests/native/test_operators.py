"""The contract of every native operator's file: its examples give what ONNX Runtime gives, at sizes drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from hwnas import find
from hwnas.errors import HwnasError
from hwnas.export.native.graph import read_graph
from hwnas.export.native.operator import AXIS, Example, Kind, operators
from tests.exact import exact_session
from tests.kinds.files import NATIVE_OPERATOR
from tests.native.differential import run_ends
from tests.native.examples import model_of

SEEDS = 3
CASES = [
    pytest.param(example, quantised, id=f"{example.operator}-{index}{'-int8' if quantised else ''}")
    for module in operators().modules
    for index, example in enumerate(module.EXAMPLES)
    for quantised in ((False, True) if example.quantised else (False,))
]


def expected_of(model: onnx.ModelProto, arrays: list[np.ndarray]) -> list[np.ndarray]:
    session = exact_session(model)
    return session.run(None, {item.name: x for item, x in zip(model.graph.input, arrays, strict=True)})


@pytest.mark.slow
@pytest.mark.parametrize(("example", "quantised"), CASES)
def test_an_example_gives_what_onnx_runtime_gives(example: Example, quantised: bool) -> None:
    for seed in range(SEEDS):
        model, arrays = model_of(example, quantised, seed)
        (expected,), (found,) = expected_of(model, arrays), run_ends(model, *arrays)
        assert found.shape == expected.shape and found.dtype == expected.dtype
        if quantised:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=0, atol=example.tolerance * np.abs(expected).max())


@pytest.mark.parametrize(
    "example", [e for m in operators().modules for e in m.EXAMPLES if e.quantised], ids=lambda e: e.operator
)
def test_an_integer_kernel_takes_what_is_declared_quantised(example: Example) -> None:
    graph = read_graph(model_of(example, True, 0)[0])
    assert not graph.declined
    assert [step.kind for step in graph.steps].count("dequantize") == 1, "at the end alone"


@pytest.mark.parametrize("name", find.names(AXIS))
def test_a_file_defines_what_the_compiler_asks_for(name: str) -> None:
    module = find.load(AXIS, name)
    assert all(isinstance(kind, Kind) for kind in module.KINDS.values())
    assert isinstance(module.FUSIONS, tuple) and isinstance(module.EXAMPLES, tuple)
    assert all(example.operator in module.ONNX for example in module.EXAMPLES)
    assert callable(module.read) and (not module.KINDS or callable(module.bind))
    assert find.summary(AXIS, name).endswith((".", "8-bit.", "uint8."))


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
    (example,) = find.value(AXIS, "neg", "EXAMPLES")
    model, arrays = model_of(example, False, 1)
    (expected,), (found,) = expected_of(model, arrays), run_ends(model, *arrays)
    np.testing.assert_array_equal(found, expected)


def test_an_operator_of_two_files_is_refused_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_package("relus_twice", NATIVE_OPERATOR.replace('"Neg"', '"Relu"'), tmp_path, monkeypatch)
    with pytest.raises(HwnasError, match=r"'Relu' is in .*activation.py too"):
        operators()


def test_without_the_package_its_operator_is_unsupported() -> None:
    model, _ = model_of(Example("Neg", ((1, "A"),)), False, 0)
    with pytest.raises(HwnasError, match="no kernel covers operator Neg"):
        read_graph(model)
