"""The rules of the house that a reader can count: lengths, annotations, first lines, circles, shapes and errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
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


# Imports inside functions that would close a circle, each with its reason: the module that is imported late is not
# needed to load the one that imports it.
LATE: dict[tuple[str, str], str] = {
    ("hwnas.export.native.load", "hwnas.export.native.fallback"): "a folder may hold a model kept for ONNX Runtime, "
    "whose class is of the same interface as what it falls back from",
    (
        "hwnas.kernels.target",
        "hwnas.kernels.target_check",
    ): "a target that is no alias is tried by compiling kernels for it, and kernels are given targets",
    ("hwnas.data", "hwnas.data.foreign"): "what a person's own data set gives is made into the Raw of the package",
    ("hwnas.pipeline.job", "hwnas.pipeline.raw_images"): "a job checks its data, and what checks them is given the job",
}


def import_graph(repository: Path) -> dict[str, set[str]]:
    """module -> modules of hwnas that it imports anywhere, within functions too; kernels are hwnas.kernels."""
    modules: dict[str, Path] = {}
    for top, prefix in ((repository / "hwnas", "hwnas"), (repository / "kernels", "hwnas.kernels")):
        for file in top.rglob("*.py"):
            inner = ".".join(file.relative_to(top).with_suffix("").parts).removesuffix("__init__").rstrip(".")
            modules[f"{prefix}.{inner}".rstrip(".")] = file
    return {name: {o for o in _imports(file, modules) if o in modules and o != name} for name, file in modules.items()}


def _imports(file: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """Every module a file imports, `from package import module` being the module; not what type checkers alone see."""
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (member if member in modules else node.module for member in members)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The modules that import one another, a circle a list: what is left when modules that import nothing left are
    taken away again and again, and those that nothing left imports."""
    left = {name: set(others) for name, others in graph.items()}
    while True:
        ends = {n for n, others in left.items() if not others} | (left.keys() - set().union(*left.values()))
        if not ends:
            break
        left = {n: others - ends for n, others in left.items() if n not in ends}
    found: list[list[str]] = []
    for name in sorted(left):
        if not any(name in circle for circle in found):
            mutual = [other for other in left if name in _reached(left, other) and other in _reached(left, name)]
            found += [sorted(mutual)] if mutual else []
    return found


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "f"}, "f": {"e"}}
    assert circles(graph) == [["b", "c"], ["e", "f"]]


def test_modules_import_one_another_in_no_circle(repository: Path) -> None:
    graph = import_graph(repository)
    assert len(graph) > 100 and "hwnas.network" in graph["hwnas.space"]
    for importer, imported in LATE:
        graph.get(importer, set()).discard(imported)
    assert circles(graph) == []


def test_every_late_import_is_argued_and_still_there(repository: Path) -> None:
    graph = import_graph(repository)
    assert [pair for pair in LATE if pair[1] not in graph.get(pair[0], ())] == [], "an exception nobody needs hides one"
    assert all(len(reason.split()) >= 6 for reason in LATE.values())


def test_imports_are_spelt_out(repository: Path) -> None:
    """A relative import would pass by the tests of tiers and circles, which read names."""
    relative = [
        f"{file.name}:{node.lineno}"
        for file in sources(repository, ANNOTATED)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def protocols(file: Path) -> Iterator[ast.ClassDef]:
    """The classes of a file that are interfaces."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases):
            yield node


def docstrings(node: ast.ClassDef) -> str:
    """What a class says of itself and of each of its methods."""
    parts = [node, *(inner for inner in node.body if isinstance(inner, Function))]
    return " ".join(ast.get_docstring(part) or "" for part in parts)


def test_every_interface_of_the_protocols_page_argues_for_itself_and_states_its_law(repository: Path) -> None:
    said = {node.name: docstrings(node) for node in protocols(repository / "hwnas" / "protocols.py")}
    assert len(said) > 5
    assert [name for name, text in said.items() if not re.search(r"Law:\s", text) or len(text.split()) < 20] == []


def test_interfaces_give_the_shapes_of_the_arrays_that_cross_them(repository: Path) -> None:
    """An array in a signature has its shape in words: "(n,)", "(N, C, H, W)", "[N, ...]"."""
    bare = [
        f"{file.name} {node.name}"
        for file in (repository / "hwnas").rglob("*.py")
        for node in protocols(file)
        if re.search(r"ndarray|Tensor\b", "".join(map(_signature, node.body))) and not SHAPE.search(docstrings(node))
    ]
    assert bare == []


# An axis is a letter or two, a plural ("layers"), a number, "..." or a sum: "(by name, in order)" is no shape.
AXIS = r"(?:\.\.\.|\*\w+|[A-Za-z]\w?|[a-z]+s|[\d A-Za-z]*[a-z]+s \+ \d|\d+|[A-Za-z] [+*/-] \w+)"
SHAPE = re.compile(rf"[(\[]{AXIS},(?: {AXIS}(?:, {AXIS})*)?[)\]]|of the same shape|of this shape|any shape|scalar")
RUNNING = re.compile(r"\b(ask|tell|fit|predict|groups|steps|decode|state|load|pick|mixture|score|cost)\b|__")


def _signature(node: ast.stmt) -> str:
    return (
        f"{ast.unparse(node.args)} -> {node.returns and ast.unparse(node.returns)}"
        if isinstance(node, Function)
        else ""
    )


def test_methods_give_the_shapes_of_their_arrays_and_the_errors_they_raise(repository: Path) -> None:
    """Besides what their interface says already. A constructor that refuses says so, or its class or file does."""
    wrong = []
    for file in sorted((repository / "hwnas" / "methods").rglob("*.py")):
        whole = " ".join(re.findall(r'"""(.*?)"""', file.read_text(encoding="utf-8"), re.DOTALL))
        for name, function, _ in functions(file):
            text = ast.get_docstring(function) or ""
            public = function.name[0] != "_" and not RUNNING.fullmatch(function.name)
            if public and re.search(r"ndarray|Tensor\b", _signature(function)) and not SHAPE.search(text):
                wrong.append(f"{name}: shapes")
            constructor = function.name in ("__init__", "__post_init__")
            if (public or constructor) and "HwnasError" in ast.unparse(function) and "HwnasError" not in whole:
                wrong.append(f"{name}: errors")
    assert wrong == []
