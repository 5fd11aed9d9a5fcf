"""`hwnas methods` reads the method files without importing them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from hwnas.cli.methods import find_methods
from hwnas.errors import HwnasError


def test_every_listed_name_can_be_imported_and_has_a_summary() -> None:
    found = find_methods()
    assert {method.chapter for method in found} >= {"rule", "search"}
    for method in found:
        assert method.summary and method.use
        for use in method.use:
            module, _, name = use.partition(":")
            assert name in vars(importlib.import_module(f"hwnas.methods.{module}"))


def test_a_method_is_listed_without_running_its_file(tmp_path: Path) -> None:
    (tmp_path / "rule").mkdir()
    (tmp_path / "rule" / "mine.py").write_text('"""Mine: an idea (Me, 2026)."""\nraise SystemExit\nclass Mine: ...\n')
    (method,) = find_methods(tmp_path)
    assert method.use == ("rule.mine:Mine",)
    assert method.summary == "Mine: an idea (Me, 2026)."


def test_a_file_that_is_not_python_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "rule").mkdir()
    (tmp_path / "rule" / "broken.py").write_text("def f(:\n")
    with pytest.raises(HwnasError, match=r"broken\.py:1 is not Python"):
        find_methods(tmp_path)
