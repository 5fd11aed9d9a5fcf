"""Kernels of this machine as callable functions: compiled, linked into one shared library, called through ctypes."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.c_compiler import ZIG, has_zig, system_compiler
from hwnas.kernels.codegen import compile_object
from hwnas.kernels.target import Target

ALIGNMENT = 64


class HostLibrary:
    """The kernels `functions`, compiled for `target` and loaded into this process."""

    def __init__(self, functions: Sequence[Any], target: Target) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hwnas-kernels-")
        folder = Path(self._folder.name)
        (folder / "kernels.o").write_bytes(compile_object(functions, target))
        library = folder / "kernels.so"
        command = [*_linker(), "-shared", "-o", str(library), str(folder / "kernels.o"), "-lm"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise HwnasError(f"linking kernels failed: {run.stderr.strip()}")
        self._library = ctypes.CDLL(str(library))

    def call(self, symbol: str, *arrays: np.ndarray) -> None:
        """Call kernel `symbol` with the arrays' addresses; arrays must be contiguous and 64-byte aligned."""
        self.bound(symbol, *arrays)()

    def function(self, symbol: str) -> Any:
        """The kernel as ctypes sees it."""
        return self._library[symbol]

    def bound(self, symbol: str, *arrays: np.ndarray) -> Any:
        """A function of no arguments that calls `symbol` on these arrays: nothing but the call, for timing."""
        for position, array in enumerate(arrays):
            if not array.flags.c_contiguous or array.ctypes.data % ALIGNMENT:
                raise HwnasError(f"kernel {symbol}: argument {position} is not contiguous and {ALIGNMENT}-byte aligned")
        function = self.function(symbol)
        function.restype = None
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        function.argtypes = [ctypes.c_void_p] * len(pointers)

        def invoke(_keep_alive: tuple[np.ndarray, ...] = arrays) -> None:
            function(*pointers)

        return invoke


def _linker() -> list[str]:
    own = system_compiler()
    if own is not None:
        return [own]
    if has_zig():
        return [*ZIG, "cc"]
    raise HwnasError("no C linker found to load kernels", hint="pip install ziglang, or install gcc")
