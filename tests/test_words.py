"""docs/words.md is true: what it names is there, and what it says not to say is not said."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDERS = ("hwnas", "kernels", "examples", "benchmarks", "tests")
PAGES = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/measurement.md", "docs/methods.md")
QUOTED = re.compile(r"`[^`]*`|\"[^\"]*\"|https?://\S+")  # a name of the code or of somebody else's, or another's words


def rows(repository: Path) -> list[tuple[str, str, str, str]]:
    """(word, what it is, code, not) of every row of the page's tables."""
    lines = (repository / "docs" / "words.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [(a, b, c, d) for a, b, c, d in cells if a != "word" and not a.startswith("---")]


def banned(repository: Path) -> dict[str, str]:
    """spelling -> the word to say instead."""
    return {one.strip(): word for word, _, _, no in rows(repository) for one in no.split(",") if one.strip()}


def prose(file: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of a page's lines, or of a source file's docstrings and comments, names in quotes left out."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        yield from ((i, QUOTED.sub("", line)) for i, line in enumerate(text.splitlines(), 1))
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], QUOTED.sub("", token.string)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            line = 1 if isinstance(node, ast.Module) else node.lineno
            yield line, QUOTED.sub("", ast.get_docstring(node) or "")


def said(file: Path, words: dict[str, str]) -> list[str]:
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, words))})\b", re.IGNORECASE)
    return [
        f"{file.name}:{line} says {found!r}: {words[found.lower()]}"
        for line, text in prose(file)
        for found in pattern.findall(text)
    ]


def test_every_word_is_argued_and_its_code_is_there(repository: Path) -> None:
    table = rows(repository)
    assert len(table) > 40 and len({word for word, *_ in table}) == len(table), "one row a word"
    for word, meaning, code, _ in table:
        found = re.fullmatch(r"`([\w/]+\.py)`(?: (\w+))?", code)
        assert found and len(meaning.split()) >= 4, word
        text = (repository / found[1]).read_text(encoding="utf-8")
        assert found[2] is None or re.search(rf"\b{found[2]}\b", text), f"{word}: {found[1]} has no {found[2]}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_and_comments_use_no_other_word(folder: str, repository: Path) -> None:
    words = banned(repository)
    files = {file.resolve() for file in (repository / folder).rglob("*.py")} - {Path(__file__).resolve()}
    assert [wrong for file in sorted(files) for wrong in said(file, words)] == []


@pytest.mark.parametrize("page", PAGES)
def test_pages_use_no_other_word(page: str, repository: Path) -> None:
    assert said(repository / page, banned(repository)) == []


def test_a_banned_word_is_found_where_it_is_prose_and_not_where_it_is_a_name(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text('"""An artifact."""\nopen_artifact = 1  # `artifact` of theirs, an Artifact of ours\n')
    assert said(file, {"artifact": "artefact"}) == [
        "a.py:2 says 'Artifact': artefact",
        "a.py:1 says 'artifact': artefact",
    ]
