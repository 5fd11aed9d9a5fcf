"""Naming a method in a run file: `use: rule.sandwich:Sandwich` or `package.mine:Rule`; keys bind to its arguments."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import HwnasError, nearest_names, unknown


def resolve(use: str, folder: str) -> Callable[..., Any]:
    """The class or function `use` names: `<chapter.file>[:Name]` under hwnas.<folder>, else any import path.

    Without `:Name` it is the one public class or function whose name matches the file's (`sandwich` -> `Sandwich`).
    """
    if not isinstance(use, str) or not use:
        raise HwnasError(f"'use' must name a method such as {folder}.file:Name, got {use!r}")
    path, _, name = use.partition(":")
    module = _module(path, folder)
    if not name:
        wanted = path.rsplit(".", 1)[-1].replace("_", "").lower()
        matches = [n for n in vars(module) if n.replace("_", "").lower() == wanted]
        name = matches[0] if matches else wanted
    found = getattr(module, name, None)
    if not callable(found):
        own = [
            n
            for n, v in vars(module).items()
            if callable(v) and getattr(v, "__module__", "") == module.__name__ and n[0] != "_"
        ]
        raise unknown(f"name in {module.__name__}", name, own)
    result: Callable[..., Any] = found
    return result


def _module(path: str, folder: str) -> Any:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a user's own file beside the run file
    for candidate in (f"hwnas.{folder}.{path}", path):
        try:
            return importlib.import_module(candidate)
        except ModuleNotFoundError as problem:
            if problem.name is None or not (candidate == problem.name or candidate.startswith(problem.name + ".")):
                raise HwnasError(f"{candidate} needs the package {problem.name!r}, which is not installed") from None
        except (ValueError, TypeError):
            break
    raise HwnasError(
        f"cannot import {path!r}",
        nearest=nearest_names(path, available(folder)),
        hint=f"in hwnas.{folder}: {', '.join(available(folder))}",
    )


def available(folder: str) -> list[str]:
    """Files under hwnas/<folder>, as `use` spells them."""
    root = Path(__file__).parent.joinpath(*folder.split("."))
    files = sorted(p.relative_to(root).with_suffix("") for p in root.rglob("*.py") if p.name != "__init__.py")
    return [".".join(p.parts) for p in files]


def bind(function: Callable[..., Any], settings: Mapping[str, Any], given: Mapping[str, Any], where: str) -> Any:
    """Calls `function` with those of `given` it takes and the user's `settings`; unknown keys are refused."""
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
    values = {name: value for name, value in given.items() if name in parameters}
    try:
        return function(**values, **settings)
    except (TypeError, ValueError) as problem:
        raise HwnasError(f"{where}: {problem}", hint=f"it takes {', '.join(takes)}") from problem
