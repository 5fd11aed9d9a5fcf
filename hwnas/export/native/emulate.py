"""Runs an artefact's program for another machine: under qemu's user mode, node (wasm) or qemu-system-arm (Cortex-M)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import HwnasError
from hwnas.export.native.compile import NativeArtifact, open_artifact
from hwnas.export.native.link import runs_here
from hwnas.export.native.load import as_samples

#: architecture -> emulator and the CPU that has every feature the kernels may use
_USER_MODE = {
    "x86_64": ("qemu-x86_64", "max"),
    "aarch64": ("qemu-aarch64", "max"),
    "arm": ("qemu-arm", "max"),
    "riscv64": ("qemu-riscv64", "rv64,v=true,vlen=128,zba=true,zbb=true"),
}

NODE_RUNNER = """\
const fs = require('fs');
const [wasm, name, from, to] = process.argv.slice(2);
WebAssembly.instantiate(fs.readFileSync(wasm), {}).then(({instance}) => {
  const e = instance.exports, align = e[name + '_alignment']();
  const up = n => Math.ceil(n / align) * align;
  const size = e[name + '_input_bytes'](), result = e[name + '_output_bytes'](), work = e[name + '_arena_bytes']();
  const x = up(e.__heap_base.value), y = up(x + size), arena = up(y + result), end = arena + work;
  const missing = end - e.memory.buffer.byteLength;
  if (missing > 0) e.memory.grow(Math.ceil(missing / 65536));
  const input = fs.readFileSync(from), outputs = [];
  for (let i = 0; i + size <= input.length; i += size) {
    new Uint8Array(e.memory.buffer).set(input.subarray(i, i + size), x);
    const error = e[name + '_run_sized'](x, y, arena, work);
    if (error) process.exit(error);
    outputs.push(Buffer.from(new Uint8Array(e.memory.buffer).slice(y, y + result)));
  }
  fs.writeFileSync(to, Buffer.concat(outputs));
});
"""


def missing_emulator(target: str) -> str | None:
    """The program that must be installed before the target's artefacts run here, or None where all is there."""
    from hwnas.kernels.target import parse_target

    machine = parse_target(target)
    program = _program(machine.arch, runs_here(machine))
    return None if program is None or shutil.which(program) else program


def run_artifact(folder: str | Path, batch: ArrayLike, timeout_s: float = 300.0) -> NDArray[np.float32]:
    """The outputs of every sample of a batch [N, ...] of the model's input type, by the artefact's own program."""
    from hwnas.kernels.target import parse_target

    artifact = open_artifact(folder)
    machine = parse_target(artifact.target)
    program = missing_emulator(artifact.target)
    if program is not None:
        raise HwnasError(
            f"running {artifact.target} here needs {program}", hint="apt-get install qemu-user qemu-system-arm nodejs"
        )
    samples = as_samples(batch, np.dtype(artifact.manifest["input"]["type"]))
    with tempfile.TemporaryDirectory() as work:
        source, result = Path(work) / "in.bin", Path(work) / "out.bin"
        source.write_bytes(samples.tobytes())
        (Path(work) / "run.cjs").write_text(NODE_RUNNER)
        command = _command(artifact, machine.arch, runs_here(machine))
        finished = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=timeout_s, check=False)
        if finished.returncode or not result.is_file():
            raise HwnasError(f"{' '.join(command[:3])} ended with {finished.returncode}: {finished.stderr[-300:]}")
        values = np.fromfile(result, np.float32)
    return values.reshape(len(samples), *artifact.manifest["output"]["shape"][1:])


def _program(arch: str, native: bool) -> str | None:
    if native:
        return None
    special = {"wasm32": "node", "thumb": "qemu-system-arm"}
    return special.get(arch) or _USER_MODE.get(arch, (f"qemu-{arch}", ""))[0]


def _command(artifact: NativeArtifact, arch: str, native: bool) -> Sequence[str]:
    folder = artifact.folder.resolve()
    if arch == "wasm32":
        return ["node", "run.cjs", str(folder / f"{artifact.name}.wasm"), artifact.name, "in.bin", "out.bin"]
    if arch == "thumb":
        board = "mps2-an500" if "m7" in artifact.manifest["cpu"] else "mps2-an386"
        return [
            "qemu-system-arm",
            "-M",
            board,
            "-nographic",
            "-monitor",
            "none",
            "-serial",
            "none",
            "-semihosting-config",
            "enable=on,target=native",
            "-kernel",
            str(folder / "bench.elf"),
        ]
    program = [str(folder / "bench"), "--run", "in.bin", "out.bin"]
    if native:
        return program
    emulator, cpu = _USER_MODE.get(arch, (f"qemu-{arch}", "max"))
    return [emulator, "-cpu", cpu, *program]
