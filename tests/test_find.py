"""The finder: names without imports, packages outside hwnas, clashes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hwnas import find
from hwnas.cli.main import main
from hwnas.errors import HwnasError
from hwnas.network import Operator
from hwnas.pipeline import identity
from hwnas.pipeline.config import cost_unit, read_run_file
from hwnas.space import Choice, SearchSpace, Slot
from tests.pipeline.runs import run_file


@pytest.fixture
def package(outside: Path) -> Path:
    """A package that adds a layer kind."""
    (outside / "ops").mkdir()
    (outside / "ops" / "twice.py").write_text('"""Twice its input."""\nprimitive = 2\n')
    return outside


def test_every_axis_lists_what_its_folder_holds() -> None:
    assert {"conv", "dense"} <= set(find.names("ops")) and "rule.sandwich" in find.names("methods")
    assert "run" in find.names("cli") and not any(name.startswith("_") for name in find.names("cli"))
    assert find.summary("methods", "rule.single_path").startswith("Single path")


def test_a_package_adds_a_file_and_nothing_of_it_is_imported_to_list_it(package: Path) -> None:
    assert "twice" in find.names("ops") and find.summary("ops", "twice") == "Twice its input."
    assert f"{package.name}.ops.twice" not in sys.modules
    assert find.value("ops", "twice", "primitive") == 2
    with pytest.raises(HwnasError, match="must define"):
        find.value("ops", "twice", "nothing")


def test_a_file_that_serves_the_others_is_no_thing(package: Path) -> None:
    (package / "ops" / "helper.py").write_text("X = 1\n")
    (package / "ops" / "_hidden.py").write_text("primitive = 1\n")
    (package / "ops" / "_more").mkdir()
    (package / "ops" / "_more" / "deep.py").write_text("primitive = 1\n")
    assert not {"helper", "_hidden", "_more.deep", "primitive", "numeric.scales"} & set(find.names("ops"))
    assert "shapes" not in find.names("blocks") and not find.has("ops", "helper")
    with pytest.raises(HwnasError, match=r"helper\.py must define primitive"):
        find.load("ops", "helper")


def test_two_files_of_one_name_are_an_error(package: Path) -> None:
    (package / "ops" / "conv.py").write_text("primitive = 1\n")
    with pytest.raises(HwnasError, match="'conv' is in both"):
        find.names("ops")


def test_a_name_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(HwnasError, match="nearest: conv"):
        find.load("ops", "convv")
    with pytest.raises(HwnasError, match="there is no package"):
        find.activate("no_such_package_at_all")


@pytest.mark.parametrize("listed", ["no_such_package_at_all", "not a name"])
def test_a_package_of_the_environment_that_is_not_there_is_one_line(
    listed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(find.ENVIRONMENT, listed)
    assert main(["--help"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: there is no package {listed!r}") and f"nearest: {listed}" not in said


@pytest.fixture
def beside(outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same package in the folder of a run file, where neither the environment nor the module path knows of it."""
    monkeypatch.delenv(find.ENVIRONMENT)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(outside.parent)])
    return outside.rename(tmp_path / outside.name)


def test_the_cost_of_the_docs_is_found_in_a_package_beside_the_run_file(beside: Path, repository: Path) -> None:
    text = (repository / "docs" / "methods.md").read_text(encoding="utf-8")
    (beside / "methods" / "cost").mkdir(parents=True)
    (beside / "methods" / "cost" / "params.py").write_text(text.partition("```python\n")[2].partition("```")[0])
    config = read_run_file(run_file(beside.parent, plugins=[beside.name], limits={"kparams": 20, "latency_us": 1e3}))
    assert config.cost_limits == {"params": 20_000.0, "latency": 1e3} and cost_unit("params") == "parameters"


@pytest.mark.parametrize(
    ("plugins", "told"),
    [
        (["json"], "'json' is of Python's own library, which a run file cannot name; hint: --trust json"),
        (["no_such_package_at_all"], "there is no package 'no_such_package_at_all'"),
        (["a.b"], "plugins.0: string should match pattern"),
        ("mine", "plugins: input should be a valid list"),
    ],
)
def test_a_package_that_a_run_file_cannot_have_is_one_line(
    plugins: object, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", str(run_file(tmp_path, plugins=plugins))]) == 2
    said = capsys.readouterr().err
    assert told in said and said.startswith("error: ") and said.count("\n") == 1


def test_a_package_that_clashes_with_hwnas_is_refused_in_one_line(
    beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (beside / "methods" / "cost").mkdir(parents=True)
    (beside / "methods" / "cost" / "macs.py").write_text("LIMITS = {}\n")
    assert main(["measure", str(run_file(beside.parent, plugins=[beside.name]))]) == 2
    assert "methods.cost: 'macs' is in both" in capsys.readouterr().err


def test_two_costs_that_name_one_limit_are_refused(beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (beside / "methods" / "cost").mkdir(parents=True)
    (beside / "methods" / "cost" / "zmacs.py").write_text("UNIT, LIMITS = 'MACs', {'mmacs': 1e6}\n")
    assert main(["measure", str(run_file(beside.parent, plugins=[beside.name]))]) == 2
    assert "limit 'mmacs' is defined by both cost.macs and cost.zmacs" in capsys.readouterr().err


def test_the_code_of_a_layer_kind_of_a_package_decides_what_is_trained_with_it(outside: Path) -> None:
    (outside / "ops").mkdir()
    (outside / "blocks").mkdir()
    (outside / "ops" / "pass_on.py").write_text("from hwnas.ops.relu import primitive\nprimitive = primitive\n")
    (outside / "blocks" / "passing.py").write_text(
        "from hwnas.network import Layer\n\ndef layers(o):\n"
        "    return (Layer('a', 'pass_on', ('input',), o.input_shape, o.output_shape, o.precision),)\n"
    )
    operator = Operator.of("passing", (4, 8, 8), (4, 8, 8))
    space = SearchSpace("one", (Choice("a", (1,)),), (Slot("only", (), lambda values: operator),), 4, 2)
    code = identity.code_of_plugins(space)
    assert set(code) == {f"{outside.name}/ops/pass_on.py", f"{outside.name}/blocks/passing.py"}
    (outside / "ops" / "pass_on.py").write_text(
        "from hwnas.ops.relu import primitive\nprimitive = (primitive)\nX = 1\n"
    )
    assert {name for name in code if identity.code_of_plugins(space)[name] != code[name]} == {
        f"{outside.name}/ops/pass_on.py"
    }


def test_the_code_of_a_compiler_target_of_a_package_decides_a_library(outside: Path) -> None:
    (outside / "targets").mkdir()
    (outside / "targets" / "mine.py").write_text('"""A target of a test."""\nTARGET = 1\n')
    assert set(identity.code_outside(*identity.COMPILING_AXES)) == {f"{outside.name}/targets/mine.py"}
