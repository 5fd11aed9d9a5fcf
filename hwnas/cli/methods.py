"""List the methods that a run file can name with `use:`."""

from __future__ import annotations

import ast
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli._output import Json, print_json, results_console
from hwnas.errors import HwnasError, unknown


@dataclass(frozen=True, slots=True)
class Method:
    """One method file: its chapter, the classes and functions that `use:` can name, and its own first line."""

    chapter: str
    use: tuple[str, ...]
    summary: str
    file: str


def methods(
    chapter: Annotated[str | None, typer.Argument(help="Only this chapter: rule, search, predict, ...")] = None,
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas methods
        hwnas methods search
        hwnas methods --json

    Each line is what a run file's `use:` takes, and what it does. Nothing is imported: the list is read from the
    first docstring line of every file in hwnas/methods/. A method of your own needs no entry here: name it by import
    path, `use: mypackage.mine:MyRule`.
    """
    found = find_methods()
    chapters = sorted({method.chapter for method in found})
    if chapter is not None:
        if chapter not in chapters:
            raise unknown("chapter of methods", chapter, chapters)
        found = [method for method in found if method.chapter == chapter]
    if json_output:
        print_json([asdict(method) for method in found])
        return
    console = results_console()
    for heading in sorted({method.chapter for method in found}):
        console.print(heading, style="bold")
        for method in (m for m in found if m.chapter == heading):
            console.print(f"  {', '.join(method.use)}", style="cyan")
            console.print(f"      {method.summary}")


def find_methods(folder: Path | None = None) -> list[Method]:
    """Every method file under `folder` (default: hwnas/methods), in path order."""
    top = folder or Path(__file__).parents[1] / "methods"
    files = sorted(path for path in top.rglob("*.py") if not path.name.startswith("_"))
    return [_read(path, top) for path in files]


def _read(path: Path, top: Path) -> Method:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except SyntaxError as problem:
        raise HwnasError(f"{path}:{problem.lineno} is not Python: {problem.msg}") from None
    module = ".".join(path.relative_to(top).with_suffix("").parts)
    summary = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    local = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    public = _declared(tree) or [name for name in local if not name.startswith("_")]
    use = tuple(f"{module}:{name}" for name in public if name in local)
    return Method(module.partition(".")[0], use, " ".join(summary.split()), path.relative_to(top.parent).as_posix())


def _declared(tree: ast.Module) -> list[str]:
    """The names in `__all__`, where the file has one."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return []
