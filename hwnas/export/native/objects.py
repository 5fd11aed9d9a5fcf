"""Compiled kernels, kept by content: the symbol, the target and the kernels' own sources decide the file's name."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.export.native.lower import KernelCall

if TYPE_CHECKING:
    from hwnas.kernels.target import Target


def default_cache() -> Path:
    """The folder for compiled kernels where none is named: $XDG_CACHE_HOME/hwnas/kernels."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "hwnas" / "kernels"


@functools.cache
def sources_digest() -> str:
    """Changes whenever any kernel source or the code generator's version does."""
    import tvm

    digest = hashlib.sha256(str(tvm.__version__).encode())
    spec = importlib.util.find_spec("hwnas.kernels")
    assert spec is not None and spec.submodule_search_locations is not None
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def kernel_objects(calls: Mapping[str, KernelCall], target: Target, cache: Path) -> list[Path]:
    """One object file for each symbol, compiled where the cache has none."""
    folder = cache / hashlib.sha256(f"{sources_digest()}{target!r}".encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return [_object(symbol, call, target, folder) for symbol, call in calls.items()]


def _object(symbol: str, call: KernelCall, target: Target, folder: Path) -> Path:
    path = folder / f"{symbol}.o"
    if not path.is_file():
        from hwnas.kernels.codegen import compile_object

        part = path.with_suffix(f".{os.getpid()}.part")
        function = call.build().with_attr("global_symbol", symbol)
        part.write_bytes(compile_object([function], target))
        part.replace(path)
    return path
