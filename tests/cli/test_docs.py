"""The documents say what is true: links resolve, commands exist, examples import, dependencies are defended."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

from hwnas.cli.main import find_verbs

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def package_names(requirements: list[str]) -> list[str]:
    return [re.split(r"[<>=\[; ]", requirement)[0].lower() for requirement in requirements]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_resolves(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)\)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_a_document_is_a_verb(document: Path) -> None:
    for verb in re.findall(r"^hwnas ([a-z]+)|`hwnas ([a-z]+)", document.read_text(), flags=re.MULTILINE):
        assert (verb[0] or verb[1]) in find_verbs(), f"{document.name}: hwnas {verb}"


def test_the_readme_names_every_stage_verb() -> None:
    text = (REPOSITORY / "README.md").read_text()
    for verb in ("devices", "measure", "train", "search", "export", "verify", "report", "run"):
        assert verb in find_verbs() and verb in text


def test_the_readme_example_is_short_and_imports_what_exists() -> None:
    examples = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), flags=re.DOTALL)
    assert len([line for line in examples[0].splitlines() if line.strip()]) <= 10
    for node in (node for example in examples for node in ast.walk(ast.parse(example))):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert {alias.name for alias in node.names} <= set(vars(module))


def test_every_dependency_is_pinned_and_defended() -> None:
    pins = package_names((REPOSITORY / "constraints.txt").read_text().splitlines())
    defended = (REPOSITORY / "docs" / "dependencies.md").read_text().lower()
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(line for extra in ("train", "compile", "cross") for line in extras[extra])]
    for name in package_names(wanted):
        assert name in pins, f"constraints.txt must pin {name}"
        assert f"| {name}" in defended, f"docs/dependencies.md must say why {name} is needed"


def test_the_constraints_name_no_index() -> None:
    text = (REPOSITORY / "constraints.txt").read_text()
    assert "://" not in text and "--" not in text
    assert "torch==2.13.0\n" in text
