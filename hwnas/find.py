"""The one finder: an axis is a folder, a file in it is a thing, the file's name is the thing's name.

    hwnas/formats/int8.py   hwnas/ops/conv.py   hwnas/engines/tvm.py   hwnas/cli/run.py   hwnas/methods/rule/sandwich.py

A package outside hwnas adds things by having folders of the same names (`mypackage/formats/int4.py`) and being listed
in a run file (`plugins: [mypackage]`) or in the environment (`HWNAS_PLUGINS=mypackage,other`). Nothing is imported to
list names or summaries; two files of one name on one axis are an error, never a matter of order.
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
    named = [name.strip() for name in os.environ.get(ENVIRONMENT, "").split(",") if name.strip()]
    return tuple(dict.fromkeys((HOME, *named, *_activated)))


def names(axis: str) -> list[str]:
    """Every thing on an axis, as `use:` spells it: "int8" on "formats", "rule.sandwich" on "methods"."""
    return sorted(_places(axis, packages()))


def has(axis: str, name: str) -> bool:
    """Whether there is a thing of that name on the axis."""
    return name in _places(axis, packages())


def load(axis: str, name: str) -> ModuleType:
    """The module of a thing; HwnasError names the nearest where there is none."""
    return importlib.import_module(module_path(axis, name))


def module_path(axis: str, name: str) -> str:
    """The import path of a thing, for example "hwnas.formats.int8"."""
    places = _places(axis, packages())
    if name not in places:
        raise unknown(_noun(axis), str(name), sorted(places))
    package, _ = places[name]
    return f"{package}.{axis}.{name}"


def file(axis: str, name: str) -> Path:
    """The file of a thing: what its digest is taken of."""
    module_path(axis, name)
    return _places(axis, packages())[name][1]


def summary(axis: str, name: str) -> str:
    """The first docstring line of a thing's file, read without importing it."""
    docstring = ast.get_docstring(ast.parse(file(axis, name).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].strip()


def value(axis: str, name: str, attribute: str) -> Any:
    """What the thing's file defines as `attribute`; HwnasError where it defines nothing of that name."""
    found = vars(load(axis, name)).get(attribute)
    if found is None or isinstance(found, ModuleType):
        raise HwnasError(f"{file(axis, name)} must define {attribute}", hint=f"as the other files of {axis} do")
    return found


@lru_cache(maxsize=256)
def _places(axis: str, where: tuple[str, ...]) -> dict[str, tuple[str, Path]]:
    """name -> (package, file) of everything on an axis; HwnasError where two packages give one name."""
    found: dict[str, tuple[str, Path]] = {}
    for package in where:
        top = _folder(package).joinpath(*axis.split("."))
        for path in sorted(top.rglob("*.py")) if top.is_dir() else []:
            if path.name.startswith("_"):
                continue
            name = ".".join(path.relative_to(top).with_suffix("").parts)
            if name in found:
                raise HwnasError(f"{axis}: {name!r} is in both {found[name][1]} and {path}", hint="rename one of them")
            found[name] = package, path
    return found


@lru_cache(maxsize=64)
def _folder(package: str) -> Path:
    if package == HOME:
        return Path(__file__).parent
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise HwnasError(
            f"there is no package {package!r}",
            nearest=nearest_names(package, packages()),
            hint=f"plugins: and {ENVIRONMENT} name importable packages (folders with an __init__.py)",
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _noun(axis: str) -> str:
    return axis.rpartition(".")[2].removesuffix("s")
