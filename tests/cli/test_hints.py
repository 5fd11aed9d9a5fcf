"""Every command and option that an error message tells the user to type exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from hwnas.cli.main import find_verbs

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = sorted(file for folder in ("hwnas", "kernels") for file in (REPOSITORY / folder).glob("**/*.py"))


def said_in(file: Path) -> list[str]:
    """The text of every string in a file but docstrings, f-strings with their holes left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    hints = [
        keyword.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "hint"
    ]
    texts = [part for hint in hints for part in ast.walk(hint)] + [n for n in ast.walk(tree) if _names_hint(n)]
    return [
        node.value
        for node in texts
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def _names_hint(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and "hint: " in node.value


@cache
def help_of(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hwnas", *command, "--help"], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    return done.stdout


@cache
def known_options() -> set[str]:
    texts = [help_of(verb) for verb in find_verbs()] + [help_of("devices", "probe"), help_of("devices", "show")]
    return {option for text in texts for option in re.findall(r"--[a-z][a-z-]+", text)}


HINTS = [(file, text) for file in SOURCES for text in said_in(file) if "--" in text or "hwnas " in text]


@pytest.mark.parametrize(("file", "text"), HINTS, ids=lambda value: getattr(value, "stem", None) or value[:40])
def test_a_hint_names_only_options_and_verbs_that_exist(file: Path, text: str) -> None:
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text):
        assert option in known_options(), f"{file.relative_to(REPOSITORY)}: no verb takes {option}"
    for verb in re.findall(r"(?:^|[ `(])hwnas ([a-z]+)", text):
        assert verb in find_verbs(), f"{file.relative_to(REPOSITORY)}: there is no hwnas {verb}"
