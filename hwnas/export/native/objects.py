"""Compiled kernels, kept by content: the symbol, the target and the kernels' own sources decide the file's name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.export.native.lower import KernelCall
from hwnas.paths import write_bytes

if TYPE_CHECKING:
    from hwnas.kernels.target import Target


def default_cache() -> Path:
    """The folder for compiled kernels where none is named: $XDG_CACHE_HOME/hwnas/kernels."""
    from hwnas.kernels.target_check import cache_root

    return cache_root() / "kernels"


def sources_digest() -> str:
    """Changes whenever any kernel source or the code generator's version does."""
    from hwnas.kernels.target_check import kernels_digest

    return kernels_digest()


def kernel_objects(calls: Mapping[str, KernelCall], target: Target, cache: Path) -> list[Path]:
    """One object file for each symbol, compiled where the cache has none."""
    folder = cache / hashlib.sha256(f"{sources_digest()}{target!r}".encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return [_object(symbol, call, target, folder) for symbol, call in calls.items()]


def _object(symbol: str, call: KernelCall, target: Target, folder: Path) -> Path:
    path = folder / f"{symbol}.o"
    if not path.is_file():
        from hwnas.kernels.codegen import compile_object

        function = call.build().with_attr("global_symbol", symbol)
        write_bytes(path, compile_object([function], target))
    return path
