"""The finder: names without imports, packages outside hwnas, clashes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwnas import find
from hwnas.errors import HwnasError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    top = tmp_path / "outside_of_hwnas"
    (top / "ops").mkdir(parents=True)
    (top / "__init__.py").write_text("")
    (top / "ops" / "twice.py").write_text('"""Twice its input."""\nprimitive = 2\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(find.ENVIRONMENT, "outside_of_hwnas")
    yield top
    find._folder.cache_clear()
    find._places.cache_clear()
    for name in [name for name in sys.modules if name.startswith("outside_of_hwnas")]:
        del sys.modules[name]


def test_every_axis_lists_what_its_folder_holds() -> None:
    assert {"conv", "dense"} <= set(find.names("ops")) and "rule.sandwich" in find.names("methods")
    assert "run" in find.names("cli") and not any(name.startswith("_") for name in find.names("cli"))
    assert find.summary("methods", "rule.single_path").startswith("Single path")


def test_a_package_adds_a_file_and_nothing_of_it_is_imported_to_list_it(package: Path) -> None:
    assert "twice" in find.names("ops") and find.summary("ops", "twice") == "Twice its input."
    assert "outside_of_hwnas.ops.twice" not in sys.modules
    assert find.value("ops", "twice", "primitive") == 2
    with pytest.raises(HwnasError, match="must define"):
        find.value("ops", "twice", "nothing")


def test_two_files_of_one_name_are_an_error(package: Path) -> None:
    (package / "ops" / "conv.py").write_text("")
    with pytest.raises(HwnasError, match="'conv' is in both"):
        find.names("ops")


def test_a_name_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(HwnasError, match="nearest: conv"):
        find.load("ops", "convv")
    with pytest.raises(HwnasError, match="there is no package"):
        find.activate("no_such_package_at_all")
