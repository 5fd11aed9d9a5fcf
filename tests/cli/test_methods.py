"""`hwnas methods` reads the method files without importing them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from hwnas.cli.main import main
from hwnas.cli.methods import find_methods
from hwnas.errors import HwnasError

MINE = '''"""Mine: an idea
of two lines (Me and You, 2026, arXiv:2601.00001).

Differs: in one
thing; and another.
Baseline: search.random_search.

More.
"""
raise SystemExit
class Mine: ...
class _Hidden: ...
'''


def test_every_listed_name_can_be_imported_and_has_a_summary() -> None:
    found = find_methods()
    assert {method.kind for method in found} >= {"rule", "search"}
    for method in found:
        assert method.summary and method.use
        for use in method.use:
            module, _, name = use.partition(":")
            assert name in vars(importlib.import_module(f"hwnas.methods.{module}"))


def test_what_serves_a_method_is_not_listed_as_one() -> None:
    assert [method.use for method in find_methods() if len(method.use) != 1] == []


def test_every_method_names_its_natural_baseline() -> None:
    assert not [method.use for method in find_methods() if not method.baseline]


def test_a_method_of_a_package_is_listed_without_running_its_file(outside: Path) -> None:
    (outside / "methods" / "rule").mkdir(parents=True)
    (outside / "methods" / "rule" / "mine.py").write_text(MINE)
    (method,) = (m for m in find_methods() if m.package == outside.name)
    assert method.use == ("rule.mine:Mine",) and method.kind == "rule"
    assert method.summary == "Mine: an idea of two lines (Me and You, 2026, arXiv:2601.00001)."
    assert method.paper == "Me and You, 2026, arXiv:2601.00001"
    assert method.differs == "in one thing; and another." and method.baseline == "search.random_search."


def test_a_file_that_is_not_python_is_named_with_its_line(outside: Path) -> None:
    (outside / "methods" / "rule").mkdir(parents=True)
    (outside / "methods" / "rule" / "broken.py").write_text("def f(:\n")
    with pytest.raises(HwnasError, match=r"broken\.py:1 is not Python"):
        find_methods()


def test_another_axis_lists_its_things_and_not_the_files_that_serve_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--axis", "ops", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"conv", "dense"} <= set(listed) and not {"primitive", "numeric.scales"} & set(listed)
    assert main(["methods", "--axis", "spaces", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["auto_deeplab"].endswith("arXiv:1901.02985).")  # all lines of a sentence
    assert main(["methods", "--axis", "opps"]) == 2
    assert "nearest: ops" in capsys.readouterr().err
