"""Naming a method in a run file: `use: rule.sandwich:Sandwich` or `package.mine:Rule`; keys bind to its arguments.

A run file may come from a stranger, so a name leads only into `hwnas.<folder>`, into files beside the run file and into
packages that the run file lists under `plugins:`; anything else, Python's own library above all, is refused unless the
person who runs it says `--trust PACKAGE`. What is found is checked against its interface before it is called.
A listed package may also add things to an axis, which then go by their short names (hwnas/find.py).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hwnas import find
from hwnas.errors import HwnasError, nearest_names, unknown

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Trust:
    """Where the names of a run file may lead besides hwnas: files in the folder `beside`, the packages that the run
    file lists (`plugins`), and those that the person who runs it trusts (`packages`, of --trust)."""

    beside: Path | None = None
    plugins: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


HWNAS_ALONE = Trust()


def resolve(use: str, folder: str, trust: Trust = HWNAS_ALONE, interfaces: tuple[type, ...] = ()) -> Callable[..., Any]:
    """The class or function `use` names: `<chapter.file>[:Name]` under hwnas.<folder>, else where `trust` leads.

    Without `:Name` it is the public class or function (one of `__all__`, where the file has that) of the file's own
    name, or else the one whose name matches it (`sandwich` -> `Sandwich`).
    It must be defined there, and be a subclass of one of `interfaces` or be annotated to return one.
    """
    if not isinstance(use, str) or not use:
        raise HwnasError(f"'use' must name a method such as {folder}.file:Name, got {use!r}")
    path, _, name = use.partition(":")
    module = _module(path, folder, trust)
    own = {n: value for n, value in vars(module).items() if n[0] != "_" and _defined_in(value, module)}
    if not name:
        last = path.rsplit(".", 1)[-1]
        alike = {n for n in own if n.replace("_", "").lower() == last.replace("_", "").lower()}
        alike &= set(vars(module).get("__all__", alike))
        name = last if last in alike or not alike else min(alike)
    if name not in own:
        raise unknown(f"name in {module.__name__}", name, own)
    _check_interface(own[name], use, interfaces)
    found: Callable[..., Any] = own[name]
    return found


def _defined_in(value: Any, module: ModuleType) -> bool:
    """Whether it is a class or function of that module; a package may pass on what its own files define."""
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return False
    home, top = str(value.__module__), module.__name__.partition(".")[0]
    return home == module.__name__ or (top != "hwnas" and home.startswith(f"{top}."))


def _check_interface(found: Any, use: str, interfaces: tuple[type, ...]) -> None:
    """HwnasError where calling `found` could not give one of `interfaces`; nothing of it is run to see that."""
    wanted = " or ".join(interface.__name__ for interface in interfaces)
    if not interfaces or (inspect.isclass(found) and _satisfies(found, interfaces)):
        return
    if inspect.isclass(found):
        lacking = [n for n in _members(interfaces[0]) if not callable(getattr(found, n, None))]
        raise HwnasError(
            f"{use} is not a {wanted}" + f": it has no {', '.join(lacking)}" * bool(lacking),
            hint="hwnas/protocols.py says what each interface asks for",
        )
    try:
        answer = typing.get_type_hints(found).get("return")
    except Exception:  # an annotation that is imported for type checkers only cannot be evaluated
        answer = None
    kind = typing.get_origin(answer) or answer
    ours = inspect.isclass(kind) and _satisfies(kind, interfaces)
    if not ours or (kind.__module__ == "builtins" and kind not in interfaces):  # str has a __getitem__ as well
        said = "nothing" if answer is None else getattr(answer, "__name__", str(answer))
        raise HwnasError(
            f"{use} must be annotated to return {wanted}, its annotation says {said}",
            hint=f"def {found.__name__}(...) -> {interfaces[0].__name__}",
        )


def _satisfies(found: type, interfaces: tuple[type, ...]) -> bool:
    """Whether it is, or has all methods of, one of these; what else a protocol asks for only an instance has."""
    for interface in interfaces:
        try:
            if issubclass(found, interface):
                return True
        except TypeError:  # Python's own word for a protocol that has attributes
            if all(callable(getattr(found, name, None)) for name in _members(interface)):
                return True
    return False


def _members(interface: type) -> list[str]:
    return [n for n, v in vars(interface).items() if inspect.isfunction(v) and (n[0] != "_" or n == "__getitem__")]


def activate(trust: Trust) -> None:
    """Lets short names lead to what the listed packages add to an axis; HwnasError for one that is Python's own or that
    cannot be found. Nothing of them is run."""
    for package in trust.plugins:
        if package not in trust.packages:
            _refuse_pythons_own(package)
        if trust.beside is None or not _is_beside(package, trust.beside):
            _put_last(Path.cwd())
        find.activate(package)


def _module(path: str, folder: str, trust: Trust) -> ModuleType:
    inside = path.removeprefix(f"hwnas.{folder}.")
    if _DOTTED.fullmatch(inside) and find.has(folder, inside):
        return _imported(find.module_path(folder, inside))
    top = path.partition(".")[0]
    if _DOTTED.fullmatch(path) and top != "hwnas":
        if top in trust.packages:
            return _imported_last(path, Path.cwd())
        _refuse_pythons_own(path)
        if trust.beside is not None and _is_beside(path, trust.beside):
            return _imported_last(path, trust.beside)
        if top in trust.plugins or top in find.of_environment():
            return _imported_last(path, Path.cwd())
    raise HwnasError(
        f"cannot import {path!r}",
        nearest=nearest_names(path, find.names(folder)),
        hint=f"on the axis {folder}: {', '.join(find.names(folder))}; a package of yours: put its file beside the run "
        "file, list it under plugins:, or say --trust PACKAGE",
    )


def _refuse_pythons_own(path: str) -> None:
    top = path.partition(".")[0]
    if top in sys.stdlib_module_names:
        raise HwnasError(
            f"{path!r} is of Python's own library, which a run file cannot name",
            hint=f"--trust {top} allows it; a run file is code: trust it as you would a script",
        )


def _is_beside(path: str, folder: Path) -> bool:
    """Whether that import path is a file in `folder`. HwnasError where a link leads out of the folder, or where an
    installed package of that name would be taken instead."""
    place = folder.joinpath(*path.split("."))
    file = next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()), None)
    if file is None:
        return False
    if not file.resolve().is_relative_to(folder.resolve()):
        raise HwnasError(f"{file} is a link out of the run file's folder", hint="copy the file beside the run file")
    _put_last(folder)
    top = path.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module without a spec, such as one made by hand
        spec = None
    origins = [] if spec is None else [*(spec.submodule_search_locations or ()), spec.origin or ""]
    if not any(Path(origin).resolve().is_relative_to(folder.resolve()) for origin in origins if origin):
        raise HwnasError(
            f"{file} cannot be imported: {top!r} is also the name of an installed package or a loaded module",
            hint="rename the file",
        )
    return True


def _imported_last(path: str, folder: Path) -> ModuleType:
    _put_last(folder)
    return _imported(path)


def _put_last(folder: Path) -> None:
    """`folder` at the end of the module path: nothing in it can stand before an installed package."""
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))
    importlib.invalidate_caches()


def _imported(path: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as problem:
        if problem.name is None or not (path == problem.name or path.startswith(f"{problem.name}.")):
            raise HwnasError(f"{path} needs the package {problem.name!r}, which is not installed") from None
        raise HwnasError(f"cannot import {path!r}: there is no {problem.name!r}") from None
    except (Exception, SystemExit) as problem:  # a person's own file may raise anything while it is loaded
        raise HwnasError(f"cannot import {path!r}: {type(problem).__name__}: {problem}") from problem


class Given(Mapping[str, Any]):
    """What a method may ask for by the names of its arguments: each is made when it is first asked for, and once."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self._makers, self._made = dict(makers), dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers  # a mapping's own would make the value to see whether it is there

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def names_of(function: Callable[..., Any]) -> set[str]:
    """The names of the arguments that a class or function takes: what a method asks for, and its settings."""
    return set(inspect.signature(function).parameters)


def needed_by(function: Callable[..., Any]) -> set[str]:
    """The names of the arguments that have no default."""
    parameters = inspect.signature(function).parameters
    return {name for name, one in parameters.items() if one.default is inspect.Parameter.empty}


def bind(function: Callable[..., Any], settings: Mapping[str, Any], given: Mapping[str, Any], where: str) -> Any:
    """Calls `function` with those of `given` that it names, which alone are made, and with the user's `settings`;
    unknown keys are refused."""
    takes = check_settings(function, settings, given, where)
    asked = names_of(function)
    values = {name: given[name] for name in given if name in asked}
    try:
        return function(**values, **settings)
    except (HwnasError, MemoryError, OSError):
        raise
    except Exception as problem:  # settings of any type meet a function that was written for some
        kind = "" if isinstance(problem, TypeError | ValueError) else f"{type(problem).__name__}: "
        raise HwnasError(f"{where}: {kind}{problem}", hint=f"it takes {', '.join(takes)}") from problem


def check_settings(
    function: Callable[..., Any], settings: Mapping[str, Any], given: Mapping[str, Any], where: str
) -> list[str]:
    """The keys that `function` takes besides what it is given; HwnasError for one it does not take or that is missing.
    Nothing is called, and nothing of `given` is made."""
    parameters = inspect.signature(function).parameters
    takes = [name for name in parameters if name not in given]
    for name in settings:
        if name not in takes:
            raise HwnasError(
                f"{where}: unknown key {name!r}",
                nearest=nearest_names(str(name), takes),
                hint=f"it takes {', '.join(takes) or 'no keys'}",
            )
    needed = [n for n in takes if parameters[n].default is inspect.Parameter.empty and n not in settings]
    if needed:
        raise HwnasError(f"{where}: {', '.join(needed)} must be given")
    return takes
