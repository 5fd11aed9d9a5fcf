"""hwnas: measure blocks on your device, search under a hard limit, export INT8 and 1-bit networks that run there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwnas.export.native import load_native
    from hwnas.export.recipe import preprocess

__version__ = "0.1.0"
__all__ = ["__version__", "load_native", "preprocess"]


def __getattr__(name: str) -> Any:
    """`hwnas.load_native` and `hwnas.preprocess`, loaded on first use: importing hwnas loads no engine."""
    if name == "load_native":
        from hwnas.export.native import load_native

        return load_native
    if name == "preprocess":
        from hwnas.export.recipe import preprocess

        return preprocess
    raise AttributeError(f"module 'hwnas' has no attribute {name!r}")
