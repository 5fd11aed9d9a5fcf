"""What code decides a kept result: digests of source files, so that an edited rule, space or block is noticed.

Comments, blank lines and docstrings are left out of a digest, so that writing them retrains nothing. What each stage
names below is all that its result can depend on: not the command line, not the reports, not the measuring (whose
outcome, the rows and the calibration, is part of the search's identity by value).
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import hwnas
from hwnas import find
from hwnas.paths import digest
from hwnas.protocols import Sampler, TrainingRule
from hwnas.space import SearchSpace

Code = Mapping[str, str]  # source file, named as it is imported ("hwnas/train.py") -> digest of what it does

# The weights: the loop and its batches, the executor, what a block and its layers compute, how a space is lowered. The
# rule and the space are added by name. Left out: `hwnas.data.sources`, since what a source gives is in the data's own
# digest; numpy's integer arithmetic; torch's version, which changes the last bits of a training, not what was trained.
TRAINING = (
    "hwnas.train",
    "hwnas.batches",
    "hwnas.processes",
    "hwnas.supernet",
    "hwnas.network",
    "hwnas.space",
    "hwnas.formats",
    "hwnas.ops",
    "hwnas.blocks",
    "hwnas.data",
    "hwnas.pipeline.learning",
    "hwnas.methods.rule.plain",  # trains the winners further
)
NOT_TRAINING = ("hwnas.data.sources", *(f"hwnas.ops.numeric.{name}" for name in ("scales", "bits", "convolve")))
# The pick: the loop and what prices an architecture. The sampler is added by name, the scores by the training's code.
SEARCHING = (
    "hwnas.search",
    "hwnas.cost",
    "hwnas.feasible",
    "hwnas.confidence",
    "hwnas.pipeline.searching",
    "hwnas.pipeline.scoring",
    "hwnas.pipeline.parts",
    "hwnas.pipeline.exact",
    "hwnas.pipeline.tables",
)
# The files: quantisation, ONNX, and what `shipping` writes around them.
EXPORTING = ("hwnas.export", "hwnas.formats", "hwnas.ops", "hwnas.pipeline.shipping", "hwnas.pipeline.raw_images")
NOT_EXPORTING = ("hwnas.export.native", "hwnas.export.verify_runner")  # `verify` sets the tolerance of every file
# A library besides: its compiler. The kernels and TVM have a digest of their own (`toolchain`).
COMPILING = ("hwnas.export.native", "hwnas.export.recipe")
COMPILING_AXES = ("export.native.operators", "targets", "engines")  # where packages outside may add to it
# The verdict: what is compared, and the process that runs the file.
VERIFYING = (
    "hwnas.confidence",
    "hwnas.export.expected",
    "hwnas.export.verify",
    "hwnas.export.verify_runner",
    "hwnas.pipeline.verifying",
)


def code_of(names: Iterable[str], without: Iterable[str] = ()) -> dict[str, str]:
    """Digests of modules and whole packages of hwnas, by file; `without` are those left out."""
    left_out = {path for name in without for path in _files(name)}
    found = sorted({path for name in names for path in _files(name)} - left_out)
    root = Path(hwnas.__file__).parent.parent
    return {path.relative_to(root).as_posix(): meaning(path) for path in found}


def _files(name: str) -> list[Path]:
    root = Path(hwnas.__file__).parent.joinpath(*name.split(".")[1:])
    return sorted(root.rglob("*.py")) if root.is_dir() else [root.with_suffix(".py")]


def code_behind(*objects: Any) -> dict[str, str]:
    """Digests of the files that define these classes, functions or modules, and of what those files import of a
    user's own code or of hwnas.methods. The rest of hwnas is named by stage, and libraries by version."""
    held = _held(objects)
    # Of installed packages those that a name or a wrapped method is of, not of all that a method happens to hold: its
    # random generator is no reason to read the whole of numpy.
    plugins = [one for one in held if isinstance(one, TrainingRule | Sampler) or any(one is named for named in objects)]
    packages = {found.__name__.partition(".")[0] for one in plugins if (found := _module_of(one)) is not None}
    waiting = [found for one in held if (found := _module_of(one)) is not None]
    seen: dict[str, ModuleType] = {}
    while waiting:
        module = waiting.pop()
        if module.__name__ in seen or not _decides(module, packages):
            continue
        seen[module.__name__] = module
        waiting += [found for name in _imports(module) if (found := _loaded(name)) is not None]
    return {
        name.replace(".", "/") + ".py": meaning(Path(str(module.__file__))) for name, module in sorted(seen.items())
    }


def code_of_plugins(space: SearchSpace) -> dict[str, str]:
    """Digests of the blocks, layers and formats of a space that are no files of hwnas: named by an import path, or
    found in a package outside."""
    operators = space.operators()
    layers = {layer.kind for operator in operators for layer in operator.layers}
    used: dict[str, set[str]] = {
        "blocks": {o.kind for o in operators},
        "ops": layers,
        "formats": {str(o.precision) for o in operators},
    }
    paths = [kind for kind in used["blocks"] | used["ops"] if "." in kind]
    outside = [
        find.module_path(axis, name)
        for axis, names in used.items()
        for name in names
        if find.has(axis, name) and find.package_of(axis, name) != find.HOME
    ]
    return code_behind(*(importlib.import_module(path) for path in sorted({*paths, *outside})))


def code_outside(*axes: str) -> dict[str, str]:
    """Digests of everything that packages outside hwnas have on these axes: for a stage that asks the finder for what
    fits (an operator, a target) and not by a name of the run file."""
    found = ((axis, name) for axis in axes for name in find.names(axis) if find.package_of(axis, name) != find.HOME)
    return code_behind(*(find.load(axis, name) for axis, name in found))


def toolchain(target: str) -> dict[str, str]:
    """What compiles a library besides hwnas: the kernels with TVM's version, and the C compiler's own words."""
    from hwnas.export.native import link
    from hwnas.export.native.objects import sources_digest
    from hwnas.kernels.target import parse_target

    machine = parse_target(target)
    compiler = link.toolchain(machine).compiler
    asked = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False, timeout=60)
    return {
        "compiler target": digest([repr(machine), repr(machine.architecture)]),
        "kernels and TVM": sources_digest()[:16],
        "C compiler": (asked.stdout.splitlines() or [" ".join(compiler)])[0],
    }


def changed(old: Any, new: Code) -> str | None:
    """Which files of the code differ, in words; None where none does, or where the old result did not say."""
    if not isinstance(old, Mapping):
        return "an earlier version, which recorded no code"
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    if not names:
        return None
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"other code ({', '.join(names[:3])}{more} changed)"


def meaning(path: Path) -> str:
    """Digest of what a source file says to Python; of its bytes where it is not Python."""
    status = path.stat()
    return _meaning(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4096)
def _meaning(path: Path, modified_ns: int, size: int) -> str:
    text = path.read_bytes()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return digest(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return digest(ast.unparse(tree).encode())


def _held(objects: Iterable[Any]) -> list[Any]:
    """The objects and what they hold: a wrapper around a rule is decided by the rule as well."""
    waiting, found = list(objects), list[Any]()
    while waiting:
        one = waiting.pop()
        if any(one is other for other in found):
            continue
        found.append(one)
        module = _module_of(one)
        if module is not None and not isinstance(one, ModuleType | type) and _decides(module, set()):
            waiting += getattr(one, "__dict__", {}).values()
    return found


def _module_of(found: Any) -> ModuleType | None:
    if isinstance(found, ModuleType):
        return found
    holder = found if isinstance(found, type) or callable(found) else type(found)
    return sys.modules.get(getattr(holder, "__module__", "") or type(found).__module__)


def _decides(module: ModuleType, packages: set[str]) -> bool:
    """Whether a module's source is to be looked at: a user's own, of a named plug-in's package, or a method."""
    file, name = getattr(module, "__file__", None), module.__name__
    if file is None or not Path(file).is_file():
        return False
    if name.split(".")[0] == "hwnas":
        return name.startswith(("hwnas.methods.", "hwnas.spaces.", "hwnas.tasks.", "hwnas.data.sources."))
    where = Path(file).resolve()
    standard = Path(sysconfig.get_path("stdlib")).resolve() in where.parents
    installed = any(part in ("site-packages", "dist-packages") for part in where.parts)
    return (not standard and not installed) or (installed and name.split(".")[0] in packages)


def _imports(module: ModuleType) -> tuple[str, ...]:
    """Full names of what a module's source imports, sub-modules of packages included."""
    path = Path(str(module.__file__))
    status = path.stat()
    return _imported(path, status.st_mtime_ns, status.st_size, module.__package__)


@functools.lru_cache(maxsize=4096)
def _imported(path: Path, modified_ns: int, size: int, package: str | None) -> tuple[str, ...]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return ()
    return tuple(_imported_by(tree, package))


def _imported_by(tree: ast.Module, package: str | None) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            if node.level and not package:
                continue
            base = importlib.util.resolve_name(relative, package) if node.level and package else relative
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _loaded(name: str) -> ModuleType | None:
    """The module of that name: an import inside a function may not have run yet, so it is looked up without running."""
    if name in sys.modules:
        return sys.modules[name]
    parent = name.rpartition(".")[0]
    if parent and parent not in sys.modules:
        return None  # find_spec would import it
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None
    if spec is None or not spec.origin:
        return None
    module = ModuleType(name)
    module.__file__, module.__package__ = spec.origin, name if spec.submodule_search_locations else spec.parent
    return module
