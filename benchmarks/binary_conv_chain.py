"""Calls a chain of kernels from C, as a compiled library does: a peer's node times hold no interpreter either."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hwnas.export.native.link import toolchain
from hwnas.kernels.target import parse_target

MOST_POINTERS = 12


@functools.cache
def _driver() -> ctypes.CDLL:
    """`chain(kernel, pointers, arguments a call, calls)`, compiled once a process."""
    cases = "\n".join(
        f"        case {count}: kernel({', '.join(f'p[{i}]' for i in range(count))}); break;"
        for count in range(1, MOST_POINTERS + 1)
    )
    text = (
        "void chain(void (*kernel)(), void **p, long count, long calls)\n{\n"
        f"    for (; calls > 0; calls--, p += count)\n        switch (count) {{\n{cases}\n        }}\n}}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "chain.c", Path(folder) / "chain.so"
        source.write_text(text)
        compiler = toolchain(parse_target("host")).compiler
        flags = ["-O2", "-std=gnu11", "-shared", "-fPIC"]
        subprocess.run([*compiler, *flags, "-o", str(library), str(source)], check=True)
        return ctypes.CDLL(str(library))


def chained(function: ctypes._NamedFuncPointer, layers: Sequence[Sequence[np.ndarray]]) -> Callable[[], object]:
    """A function that calls `function` on every layer's arrays in turn, in C; the arrays are kept alive."""
    flat = [array.ctypes.data for arrays in layers for array in arrays]
    pointers = (ctypes.c_void_p * len(flat))(*flat)
    counts = {len(arrays) for arrays in layers}
    if len(counts) != 1 or max(counts) > MOST_POINTERS:
        raise ValueError(f"every call must take the same number of pointers, at most {MOST_POINTERS}: {counts}")
    kernel, call = ctypes.cast(function, ctypes.c_void_p), _driver().chain
    call.argtypes, call.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_long], None

    def run(_kept: object = layers) -> None:
        call(kernel, pointers, len(layers[0]), len(layers))

    return run
