"""Kernels of another machine, run here: cross-linked by zig, called by a generated driver under qemu-user or node."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.codegen import compile_object
from hwnas.kernels.target import Target

ALIGNMENT = 64

# arch -> (zig target and options, runner). Thumb kernels are linked into an Arm program: qemu's `max` core runs
# both instruction sets, Thumb-2 DSP and VFPv4 included.
_MACHINES: dict[str, tuple[list[str], list[str]]] = {
    "x86_64": (["-target", "x86_64-linux-musl"], []),
    "aarch64": (["-target", "aarch64-linux-musl"], ["qemu-aarch64", "-cpu", "max"]),
    "arm": (["-target", "arm-linux-musleabihf"], ["qemu-arm", "-cpu", "max"]),
    "thumb": (["-target", "arm-linux-musleabihf"], ["qemu-arm", "-cpu", "max"]),
    "riscv64": (["-target", "riscv64-linux-musl"], ["qemu-riscv64", "-cpu", "rv64,v=true,zba=true,zbb=true"]),
    "wasm32": (["-target", "wasm32-wasi", "-msimd128"], ["node", "--no-warnings"]),
}

_WASI = """
const { WASI } = require("node:wasi");
const wasi = new WASI({ version: "preview1", args: [], env: {} });
const module_ = new WebAssembly.Module(require("node:fs").readFileSync(process.argv[2]));
wasi.start(new WebAssembly.Instance(module_, wasi.getImportObject()));
"""


def can_run(target: Target) -> bool:
    """True where this machine has what it takes to link for `target` and run the result."""
    if importlib.util.find_spec("ziglang") is None or target.arch not in _MACHINES:
        return False
    runner = _MACHINES[target.arch][1]
    return not runner or shutil.which(runner[0]) is not None


def run(functions: Sequence[Any], target: Target, calls: Sequence[tuple[str, Sequence[np.ndarray]]]) -> None:
    """Compile `functions`, call each symbol on its arrays in the target's emulator, and write the arrays back."""
    with tempfile.TemporaryDirectory(prefix="hwnas-cross-") as name:
        folder = Path(name)
        (folder / "kernels.o").write_bytes(compile_object(functions, target))
        blob, places = _lay_out([arrays for _, arrays in calls])
        (folder / "main.c").write_text(_driver(calls, places, len(blob)))
        options, runner = _MACHINES[target.arch]
        program = folder / "program"
        command = [sys.executable, "-m", "ziglang", "cc", *options, "-O1", "-static", "-o", str(program)]
        _checked([*command, str(folder / "main.c"), str(folder / "kernels.o"), "-lm"], b"")
        arguments = [str(program)]
        if target.arch == "wasm32":
            (folder / "run.js").write_text(_WASI)
            arguments = [str(folder / "run.js"), str(program)]
        result = _checked([*runner, *arguments], bytes(blob))
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
