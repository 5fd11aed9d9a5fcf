"""List the methods that a run file can name with `use:`, each with its paper and what to compare it with."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from hwnas import find
from hwnas.cli._output import Json, print_json, results_console
from hwnas.errors import unknown


@dataclass(frozen=True, slots=True)
class Method:
    """One method file: its kind, the classes and functions that `use:` can name, and what its docstring says."""

    kind: str
    use: tuple[str, ...]
    summary: str
    paper: str | None  # authors, venue, year and arXiv number, where it is a paper's
    differs: str | None  # where it departs from the paper
    baseline: str | None  # what it must beat to be worth its cost
    package: str


def methods(
    kind: Annotated[str | None, typer.Argument(help="Only this kind: rule, search, scorer, predictor, ...")] = None,
    axis: Annotated[
        str | None, typer.Option(help="Another folder of things: spaces, blocks, ops, data.sources.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas methods
        hwnas methods search
        hwnas methods --axis spaces
        hwnas methods --json

    Each line is what a run file's `use:` takes, and what it does. Nothing is imported: all is read from the docstring
    of every file in hwnas/methods/, and of every package that HWNAS_PLUGINS lists. A method of your own needs no entry
    here: name it by import path, `use: mypackage.mine:MyRule`.
    """
    if axis is not None:
        _print_axis(axis, json_output)
        return
    found = find_methods()
    kinds = sorted({method.kind for method in found})
    if kind is not None:
        if kind not in kinds:
            raise unknown("kind of methods", kind, kinds)
        found = [method for method in found if method.kind == kind]
    if json_output:
        print_json([asdict(method) for method in found])
        return
    console = results_console()
    for heading in dict.fromkeys(method.kind for method in found):
        console.print(heading, style="bold")
        for method in (m for m in found if m.kind == heading):
            console.print(f"  {', '.join(method.use)}", style="cyan")
            for label in ("summary", "differs", "baseline"):
                said = getattr(method, label)
                if said:
                    console.print(f"      {said}" if label == "summary" else f"      {label}: {said}")


def find_methods() -> list[Method]:
    """Every method file of hwnas and of the packages outside it, in the order of their names."""
    return [_read(name) for name in find.names("methods")]


def _read(name: str) -> Method:
    said = find.docstring("methods", name)
    summary = _summary(said)
    paper = re.findall(r"\(([^()]*\b(?:19|20)\d\d\b[^()]*)\)", summary)
    use = tuple(f"{name}:{one}" for one in find.public("methods", name))
    package = find.package_of("methods", name)
    sections = (_section(said, "Differs"), _section(said, "Baseline"))
    return Method(name.partition(".")[0], use, summary, paper[-1] if paper else None, *sections, package)


def _summary(docstring: str) -> str:
    """The first paragraph, in one line."""
    return " ".join(docstring.partition("\n\n")[0].split())


def _section(docstring: str, label: str) -> str | None:
    """What follows `Differs:` up to an empty line or the next such label, in one line."""
    found = re.search(rf"^{label}: (.+?)(?=\n\s*\n|\n[A-Z]\w*: |\Z)", docstring, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else None


def _print_axis(axis: str, as_json: bool) -> None:
    listed = {name: _summary(find.docstring(axis, name)) for name in find.names(axis)}
    if not listed:
        raise unknown("axis", axis, find.axes())
    if as_json:
        print_json(listed)
        return
    console = results_console()
    for name, summary in listed.items():
        console.print(f"  {name}", style="cyan")
        console.print(f"      {summary}")
