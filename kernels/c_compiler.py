"""The C compilers of this machine: its own, and ziglang's (a wheel) for every machine."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import sys

ZIG = (sys.executable, "-m", "ziglang")


@functools.cache
def system_compiler() -> str | None:
    """The path of this machine's own C compiler; None where none is on PATH."""
    return next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


def has_zig() -> bool:
    """Whether ziglang is installed."""
    return importlib.util.find_spec("ziglang") is not None
