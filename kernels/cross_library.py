"""Kernels of another machine, run here: cross-linked by zig, called by a generated driver under qemu-user or node."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.c_compiler import ZIG, has_zig
from hwnas.kernels.codegen import compile_object
from hwnas.kernels.target import Target, host_architecture

ALIGNMENT = 64

_WASI = """
const { WASI } = require("node:wasi");
const wasi = new WASI({ version: "preview1", args: [], env: {} });
const module_ = new WebAssembly.Module(require("node:fs").readFileSync(process.argv[2]));
wasi.start(new WebAssembly.Instance(module_, wasi.getImportObject()));
"""


def can_run(target: Target) -> bool:
    """True where this machine has what it takes to link for `target` and run the result."""
    runner = _runner(target)
    return has_zig() and bool(target.architecture.kernels_linker) and (not runner or bool(shutil.which(runner[0])))


def _runner(target: Target) -> tuple[str, ...]:
    """What a program of the target is put behind; nothing where its instruction set is this machine's."""
    here = host_architecture(platform.machine()) == target.arch
    return () if here else target.architecture.kernels_emulator


def run(functions: Sequence[Any], target: Target, calls: Sequence[tuple[str, Sequence[np.ndarray]]]) -> None:
    """Compile `functions`, call each symbol on its arrays in the target's emulator, and write the arrays back."""
    with tempfile.TemporaryDirectory(prefix="hwnas-cross-") as name:
        folder = Path(name)
        (folder / "kernels.o").write_bytes(compile_object(functions, target))
        blob, places = _lay_out([arrays for _, arrays in calls])
        (folder / "main.c").write_text(_driver(calls, places, len(blob)))
        program = folder / "program"
        command = [*ZIG, "cc", *target.architecture.kernels_linker, "-O1", "-static", "-o", str(program)]
        _checked([*command, str(folder / "main.c"), str(folder / "kernels.o"), "-lm"], b"")
        arguments = [str(program)]
        if target.architecture.module:
            (folder / "run.js").write_text(_WASI)
            arguments = [str(folder / "run.js"), str(program)]
        result = _checked([*_runner(target), *arguments], bytes(blob))
    if len(result) != len(blob):
        raise HwnasError(f"kernels for {target.text}: the run gave {len(result)} bytes, expected {len(blob)}")
    for (_, arrays), offsets in zip(calls, places, strict=True):
        for array, offset in zip(arrays, offsets, strict=True):
            array.reshape(-1).view(np.uint8)[...] = np.frombuffer(result, np.uint8, array.nbytes, offset)


def _lay_out(arguments: Sequence[Sequence[np.ndarray]]) -> tuple[bytearray, list[list[int]]]:
    blob, places = bytearray(), []
    for arrays in arguments:
        offsets = []
        for array in arrays:
            blob.extend(bytes(-len(blob) % ALIGNMENT))
            offsets.append(len(blob))
            blob.extend(np.ascontiguousarray(array).tobytes())
        places.append(offsets)
    return blob, places


def _driver(calls: Sequence[tuple[str, Sequence[np.ndarray]]], places: list[list[int]], size: int) -> str:
    counts = {symbol: len(arrays) for symbol, arrays in calls}
    declared = [f"void {symbol}({', '.join(['void *'] * count)});" for symbol, count in counts.items()]
    body = [
        f"  {symbol}({', '.join(f'arena + {offset}' for offset in offsets)});"
        for (symbol, _), offsets in zip(calls, places, strict=True)
    ]
    return "\n".join(
        [
            "#include <stdio.h>",
            *declared,
            f"static unsigned char arena[{size}] __attribute__((aligned({ALIGNMENT})));",
            "int main(void) {",
            f"  if (fread(arena, 1, {size}, stdin) != {size}) return 1;",
            *body,
            f"  if (fwrite(arena, 1, {size}, stdout) != {size}) return 2;",
            "  return fflush(stdout) != 0;",
            "}",
            "",
        ]
    )


def _checked(command: list[str], data: bytes) -> bytes:
    run = subprocess.run(command, input=data, capture_output=True, check=False)
    if run.returncode != 0:
        text = run.stderr.decode(errors="replace").strip()
        raise HwnasError(f"{Path(command[0]).name} failed with code {run.returncode}: {text[-2000:]}")
    return run.stdout
