"""The one finder: an axis is a folder, a file in it is a thing, the file's name is the thing's name.

    hwnas/formats/int8.py   hwnas/ops/conv.py   hwnas/engines/tvm.py   hwnas/cli/run.py   hwnas/methods/rule/sandwich.py

A package outside hwnas adds things by having folders of the same names (`mypackage/formats/int4.py`) and being listed
in a run file (`plugins: [mypackage]`) or in the environment (`HWNAS_PLUGINS=mypackage,other`). Nothing is imported to
list names or summaries; two files of one name on one axis are an error, never a matter of order.

What is no thing: a file or folder whose name begins with an underscore, and, where the folder's `__init__.py` says what
a thing of it defines (`THING = "primitive"` in hwnas/ops), a file that does not: it serves the others.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from hwnas.errors import HwnasError, nearest_names, unknown

HOME = "hwnas"
ENVIRONMENT = "HWNAS_PLUGINS"
_activated: list[str] = []


def activate(*packages: str) -> None:
    """Lets this process find what these packages add; HwnasError where one cannot be found. Loads nothing of them."""
    for package in packages:
        if package != HOME and package not in _activated:
            _folder(package)
            _activated.append(package)


def packages() -> tuple[str, ...]:
    """Where things are found: hwnas, then the packages of the environment, then those activated here."""
    return tuple(dict.fromkeys((HOME, *of_environment(), *_activated)))


def of_environment() -> tuple[str, ...]:
    """The packages that HWNAS_PLUGINS lists."""
    return tuple(name.strip() for name in os.environ.get(ENVIRONMENT, "").split(",") if name.strip())


def axes() -> list[str]:
    """The folders of hwnas that hold things: what a package outside may have folders of the same names for."""
    return sorted(path.name for path in _folder(HOME).iterdir() if path.is_dir() and names(path.name))


def names(axis: str) -> list[str]:
    """Every thing on an axis, as `use:` spells it: "int8" on "formats", "rule.sandwich" on "methods"."""
    return sorted(name for name, (_, path) in _places(axis, packages()).items() if _is_thing(axis, path))


def package_of(axis: str, name: str) -> str:
    """The package that a thing is of: "hwnas", or one outside."""
    return module_path(axis, name).removesuffix(f".{axis}.{name}")


def has(axis: str, name: str) -> bool:
    """Whether there is a thing of that name on the axis."""
    place = _places(axis, packages()).get(name)
    return place is not None and _is_thing(axis, place[1])


def load(axis: str, name: str) -> ModuleType:
    """The module of a thing; HwnasError names the nearest where there is none."""
    return importlib.import_module(module_path(axis, name))


def module_path(axis: str, name: str) -> str:
    """The import path of a thing, for example "hwnas.formats.int8"."""
    places = _places(axis, packages())
    if name not in places:
        raise unknown(_noun(axis), str(name), names(axis))
    package, path = places[name]
    if not _is_thing(axis, path):
        raise _lacking(axis, path, str(_thing(axis)))
    return f"{package}.{axis}.{name}"


def file(axis: str, name: str) -> Path:
    """The file of a thing: what its digest is taken of."""
    module_path(axis, name)
    return _places(axis, packages())[name][1]


def summary(axis: str, name: str) -> str:
    """The first docstring line of a thing's file, read without importing it."""
    return docstring(axis, name).partition("\n")[0].strip()


def docstring(axis: str, name: str) -> str:
    """The whole docstring of a thing's file, read without importing it."""
    return ast.get_docstring(_tree(file(axis, name))) or ""


def public(axis: str, name: str) -> list[str]:
    """The classes and functions that a thing's file defines for others, in its own order, read without importing it:
    those of `__all__` where it has one, else those without a leading underscore."""
    tree = _tree(file(axis, name))
    local = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return [one for one in _declared(tree) or local if one in local and not one.startswith("_")]


def value(axis: str, name: str, attribute: str) -> Any:
    """What the thing's file defines as `attribute`; HwnasError where it defines nothing of that name."""
    found = vars(load(axis, name)).get(attribute)
    if found is None or isinstance(found, ModuleType):
        raise _lacking(axis, file(axis, name), attribute)
    return found


def _lacking(axis: str, path: Path, attribute: str) -> HwnasError:
    return HwnasError(f"{path} must define {attribute}", hint=f"as the other files of {axis} do")


@lru_cache(maxsize=256)
def _places(axis: str, where: tuple[str, ...]) -> dict[str, tuple[str, Path]]:
    """name -> (package, file) of everything on an axis; HwnasError where two packages give one name."""
    found: dict[str, tuple[str, Path]] = {}
    if not all(part.isidentifier() for part in axis.split(".")):
        return found
    for package in where:
        top = _folder(package).joinpath(*axis.split("."))
        for path in sorted(top.rglob("*.py")) if top.is_dir() else []:
            parts = path.relative_to(top).with_suffix("").parts
            if any(part.startswith("_") for part in parts):
                continue
            name = ".".join(parts)
            if name in found:
                raise HwnasError(f"{axis}: {name!r} is in both {found[name][1]} and {path}", hint="rename one of them")
            found[name] = package, path
    return found


@lru_cache(maxsize=64)
def _folder(package: str) -> Path:
    """The folder of a package; HwnasError where none of that name can be imported. Nothing of it is run."""
    if package == HOME:
        return Path(__file__).parent
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except ValueError:  # a module without a spec, such as __main__
        spec = None
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        raise HwnasError(
            f"there is no package {package!r}",
            nearest=nearest_names(package, [other for other in packages() if other != package]),
            hint=f"plugins: and {ENVIRONMENT} name importable packages (folders with an __init__.py)",
        )
    # A single module can be named by `use:` too; it has no folders, so it adds to no axis.
    return Path(next(iter(spec.submodule_search_locations or ()), None) or str(spec.origin))


@lru_cache(maxsize=4096)
def _is_thing(axis: str, path: Path) -> bool:
    thing = _thing(axis)
    return thing is None or thing in _definitions(_tree(path))


@lru_cache(maxsize=64)
def _thing(axis: str) -> str | None:
    """What a thing of the axis defines, where its folder in hwnas says so."""
    path = _folder(HOME).joinpath(*axis.split("."), "__init__.py")
    for node in _tree(path).body if path.is_file() else []:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "THING":
            return str(ast.literal_eval(node.value))
    return None


def _tree(path: Path) -> ast.Module:
    try:
        return _parsed(path, path.stat().st_mtime_ns)
    except (SyntaxError, ValueError) as problem:
        line = f":{problem.lineno}" if isinstance(problem, SyntaxError) else ""
        raise HwnasError(f"{path}{line} is not Python: {getattr(problem, 'msg', problem)}") from None


@lru_cache(maxsize=512)
def _parsed(path: Path, modified_ns: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _definitions(tree: ast.Module) -> set[str]:
    """The names that a file gives at its top level itself: what it imports is another file's."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def _declared(tree: ast.Module) -> list[str]:
    """The names in `__all__`, where the file has one."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return []


def _noun(axis: str) -> str:
    return axis.rpartition(".")[2].removesuffix("s")
