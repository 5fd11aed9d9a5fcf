"""The rules of the house that a reader can count: short files and functions, annotations, and a first line of help."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDERS = ("hwnas", "kernels", "benchmarks", "examples", "tests")
ANNOTATED = ("hwnas", "kernels", "benchmarks")
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 400, 60
Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(repository: Path, folders: tuple[str, ...]) -> list[Path]:
    """Every Python file, each once: hwnas/kernels is a link to kernels."""
    found = [file for folder in folders for file in (repository / folder).rglob("*.py")]
    return sorted({file.resolve(): file for file in found}.values())


def functions(file: Path) -> Iterator[tuple[str, Function, bool]]:
    """(name with line, function, whether it is a method)."""
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(file.read_text(encoding="utf-8")), False)]
    while waiting:
        node, inside_class = waiting.pop()
        if isinstance(node, Function):
            yield f"{file.name}:{node.lineno} {node.name}", node, inside_class
        waiting += [(child, isinstance(node, ast.ClassDef)) for child in ast.iter_child_nodes(node)]


def test_no_file_is_longer_than_400_lines(repository: Path) -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in sources(repository, FOLDERS)}
    long = {file.name for file, length in lengths.items() if length > LINES_OF_A_FILE}
    assert long == set()


def test_no_function_is_longer_than_60_lines(repository: Path) -> None:
    long = {
        f"{file.name} {function.name}"
        for file in sources(repository, ANNOTATED)
        for _, function, _ in functions(file)
        if (function.end_lineno or 0) - function.lineno + 1 > LINES_OF_A_FUNCTION
    }
    assert long == set()


@pytest.mark.parametrize("folder", ANNOTATED)
def test_every_function_is_annotated(folder: str, repository: Path) -> None:
    bare = [
        name
        for file in sources(repository, (folder,))
        for name, function, method in functions(file)
        if not _is_annotated(function, method)
    ]
    assert bare == []


def _is_annotated(function: Function, method: bool) -> bool:
    """All parameters but self and cls, and what it returns (an __init__ returns nothing)."""
    a = function.args
    listed = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(one for one in (a.vararg, a.kwarg) if one)]
    if method and listed and not any(ast.unparse(d) == "staticmethod" for d in function.decorator_list):
        listed = listed[1:]
    returns = function.returns is not None or function.name == "__init__"
    return returns and all(argument.annotation is not None for argument in listed)


def test_every_file_opens_with_a_line_that_says_what_it_is(repository: Path) -> None:
    """`hwnas --help` and `hwnas methods` print these lines; the others are read by people."""
    wrong = []
    for file in sources(repository, FOLDERS):
        text = file.read_text(encoding="utf-8")
        first = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        if text.strip() and len(first.split()) < 3:
            wrong.append(f"{file.relative_to(repository)}: {first!r}")
    assert wrong == []


def test_the_names_that_say_nothing_are_not_used(repository: Path) -> None:
    empty = {"utils", "util", "common", "helpers", "misc", "manager", "base"}
    assert [str(f) for f in sources(repository, FOLDERS) if f.stem in empty] == []
