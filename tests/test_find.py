"""The finder: names without imports, packages outside hwnas, clashes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hwnas import find
from hwnas.cli.main import main
from hwnas.errors import HwnasError


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


def test_a_verb_of_a_package_runs_and_is_in_the_help(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (outside / "cli").mkdir()
    (outside / "cli" / "greet.py").write_text(
        '"""Say hello to somebody."""\n\ndef greet(name: str) -> None:\n    """Examples:"""\n    print("hello", name)\n'
    )
    assert main(["greet", "you"]) == 0 and capsys.readouterr().out == "hello you\n"
    assert main(["--help"]) == 0 and "Say hello to somebody." in capsys.readouterr().out


@pytest.mark.parametrize("listed", ["no_such_package_at_all", "not a name"])
def test_a_package_of_the_environment_that_is_not_there_is_one_line(
    listed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(find.ENVIRONMENT, listed)
    assert main(["--help"]) == 2
    assert capsys.readouterr().err.startswith(f"error: there is no package {listed!r}")
