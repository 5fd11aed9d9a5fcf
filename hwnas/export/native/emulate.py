"""Runs an artefact's program for another machine: under qemu's user mode, node (wasm) or qemu-system-arm (Cortex-M)."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import HwnasError
from hwnas.export.native.artifact import NativeArtifact, open_artifact
from hwnas.export.native.ends import batches, packed, unpacked
from hwnas.export.native.link import runs_here

if TYPE_CHECKING:
    from hwnas.kernels.target import Target


class TooSlow(HwnasError):
    """A program did not end in the time that it was given."""


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
    program = None if runs_here(machine) else _emulator(machine)
    return None if program is None or shutil.which(program) else program


def why_not_here(machine: Target) -> str | None:
    """Why the target's code cannot run on this machine, emulated or not, in one sentence; None where it can."""
    from hwnas.kernels.instructions import missing_features

    if runs_here(machine):
        missing = missing_features(machine.arch, machine.features)
        return f"this machine lacks {', '.join(missing)}" if missing else None
    if machine.architecture.board_emulator and not machine.board:
        return f"no board with a {machine.cpu} is emulated here, only {', '.join(_boards(machine.arch))}"
    program = _emulator(machine)
    return None if program is None or shutil.which(program) else f"{program} is not installed"


def how_it_runs(machine: Target) -> str:
    """In words: where the target's code runs on this machine."""
    if runs_here(machine):
        return "natively, in a process of its own"
    board = f", board {machine.board}" if machine.architecture.board_emulator else ""
    return f"under {_emulator(machine)}{board}"


def run_artifact(folder: str | Path, batch: Any, timeout_s: float = 300.0) -> Any:
    """The outputs of every sample of a batch [N, ...] in the model's input type, by the artefact's own program.

    Of several inputs a tuple or a dict of such, of several outputs a tuple.
    """
    from hwnas.kernels.target import parse_target

    artifact = open_artifact(folder)
    machine = parse_target(artifact.target)
    program = missing_emulator(artifact.target)
    if program is not None:
        raise HwnasError(
            f"running {artifact.target} here needs {program}", hint="apt-get install qemu-user qemu-system-arm nodejs"
        )
    found = run_program(artifact, machine, batches(artifact.inputs, batch), timeout_s)
    return found if len(found) > 1 else found[0]


def run_program(
    artifact: NativeArtifact, machine: Target, arrays: Sequence[NDArray[Any]], timeout_s: float
) -> tuple[NDArray[Any], ...]:
    """The same for an artefact, its parsed target and one array an input; one array an output. HwnasError where the
    program ends by itself or takes too long."""
    blocks = packed(artifact.inputs, arrays)
    with tempfile.TemporaryDirectory() as work:
        source, result = Path(work) / "in.bin", Path(work) / "out.bin"
        source.write_bytes(blocks.tobytes())
        (Path(work) / "run.cjs").write_text(NODE_RUNNER)
        command = _command(artifact, machine)
        try:
            finished = subprocess.run(
                command, cwd=work, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise TooSlow(f"{command[0]} did not finish within {timeout_s:.0f} s") from None
        if finished.returncode or not result.is_file():
            said = " ".join(finished.stderr.split())[-300:]
            raise HwnasError(f"{' '.join(command[:3])} ended with {_ending(finished.returncode)}: {said}")
        made = np.fromfile(result, np.uint8)
    if made.size != len(blocks) * artifact.output_bytes:
        wanted = len(blocks) * artifact.output_bytes
        raise HwnasError(f"{' '.join(command[:3])} wrote {made.size} bytes, expected {wanted}")
    return unpacked(artifact.outputs, made.reshape(len(blocks), -1))


def _ending(code: int) -> str:
    """An exit status in words: a signal by its name."""
    try:
        return signal.Signals(-code).name if code < 0 else str(code)
    except ValueError:
        return str(code)


def _emulator(machine: Target) -> str:
    """The program that runs the target's code where this is another machine."""
    shared = machine.architecture
    return shared.board_emulator or (shared.emulator[0] if shared.emulator else f"qemu-{machine.arch}")


def _boards(arch: str) -> list[str]:
    from hwnas.kernels.target import compiler_targets

    return [known.cpu for known in compiler_targets().values() if known.architecture == arch and known.board]


def _command(artifact: NativeArtifact, machine: Target) -> Sequence[str]:
    folder, shared = artifact.folder.resolve(), machine.architecture
    if shared.module:
        return [*shared.emulator, "run.cjs", str(folder / f"{artifact.name}.wasm"), artifact.name, "in.bin", "out.bin"]
    if shared.board_emulator:
        if not machine.board:
            raise HwnasError(f"no board with a {machine.cpu} is emulated", nearest=tuple(_boards(machine.arch)))
        board = ["-M", machine.board, "-nographic", "-monitor", "none", "-serial", "none"]
        files = ["-semihosting-config", "enable=on,target=native", "-kernel", str(folder / "bench.elf")]
        return [shared.board_emulator, *board, *files]
    program = [str(folder / "bench"), "--run", "in.bin", "out.bin"]
    return program if runs_here(machine) else [*shared.emulator, *program]
