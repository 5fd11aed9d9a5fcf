"""Formats are known by what they do: no code of the core asks one for its name, or a choice for the end of its name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from hwnas import find

# Files of formats; the native compiler and the readers of data, whose "int8" and "uint8" are types of arrays.
LEFT_OUT = ("formats/", "export/native/", "data/sources/")


def sources(repository: Path) -> Iterator[tuple[str, ast.Module]]:
    for file in sorted((repository / "hwnas").rglob("*.py")):
        name = file.relative_to(repository / "hwnas").as_posix()
        if not name.startswith(LEFT_OUT):
            yield name, ast.parse(file.read_text(encoding="utf-8"))


def decided_by(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every string that something is compared with, looked up by, or matched against."""
    for node in ast.walk(tree):
        asked: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            asked = list(node.keys)
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        elif isinstance(node, ast.Subscript):
            asked = [node.slice]
        for part in asked:
            inside = part.elts if isinstance(part, ast.Tuple | ast.List | ast.Set) else [part]
            yield from ((one.lineno, str(one.value)) for one in inside if isinstance(one, ast.Constant))


def test_no_code_of_the_core_decides_by_the_name_of_a_format(repository: Path) -> None:
    known = set(find.names("formats"))
    # a key of manifests that files exported by earlier versions carry: what is known of a file's integer layers
    allowed = {("pipeline/shipping.py", "int8")}
    wrong = [
        f"hwnas/{name}:{line} decides by {text!r}"
        for name, tree in sources(repository)
        for line, text in decided_by(tree)
        if text in known and (name, text) not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_no_code_tells_a_choice_of_precision_by_its_name(repository: Path) -> None:
    wrong = [
        f"hwnas/{name}:{node.lineno}"
        for name, tree in sources(repository)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and re.search(r"(starts|ends)with\('\.?precision'\)$", ast.unparse(node))
    ]
    assert not wrong, "\n".join(wrong)


def test_layers_know_nothing_of_the_graph_that_they_are_written_into(repository: Path) -> None:
    for part in ("ops", "formats", "blocks"):
        for file in sorted((repository / "hwnas" / part).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                module = node.module if isinstance(node, ast.ImportFrom) else None
                assert not (module or "").startswith("hwnas.export"), f"{file}: imports {module}, if only for its types"
