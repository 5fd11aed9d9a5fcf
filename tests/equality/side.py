"""One side of the comparison, run with one tree's code alone: `python side.py WORK`, hwnas being on PYTHONPATH.

WORK/job.json names the run files, the compiler targets and a folder of ONNX models. Everything is written under WORK:
what the runs leave, and kernels.json with a digest of every kernel's machine code. Each tree brings the side that knows
its own interfaces; a tree older than this file is driven by this file's first version.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHT_REL, SHT_RELA, SHT_NOBITS, SHF_ALLOC = 9, 4, 8, 2
WASM_CODE, WASM_DATA = 10, 11


def main(work: Path) -> None:
    """Runs every run file, then compiles every model for every target."""
    import hwnas

    if Path(os.environ["PYTHONPATH"]).resolve() not in Path(hwnas.__file__).resolve().parents:
        raise RuntimeError(f"hwnas came from {hwnas.__file__}, not from PYTHONPATH")
    job = json.loads((work / "job.json").read_text())
    codes = {}
    for name in job["runs"]:
        with (work / f"{name}.log").open("w") as log:
            command = [sys.executable, "-m", "hwnas", "run", f"{name}.yaml"]
            codes[name] = subprocess.run(command, cwd=work, stdout=log, stderr=log, check=False).returncode
    models = {path.stem: path for path in sorted(Path(job["models"]).glob("*.onnx"))}
    models |= {str(path.relative_to(work)): path for path in sorted((work / "runs").rglob("*.onnx"))}
    kernels = {
        target: {name: compiled(path, target, work) for name, path in models.items()} for target in job["targets"]
    }
    (work / "kernels.json").write_text(json.dumps({"exit": codes, "kernels": kernels}, indent=1))


def compiled(path: Path, target: str, work: Path) -> dict[str, Any]:
    """Digests of one model's kernels in the order of their calls, of its constants, and the size of its arena.

    A model that this tree refuses is told by the words of the refusal.
    """
    from hwnas.errors import HwnasError
    from hwnas.export.native.compile import plan_model
    from hwnas.export.native.objects import kernel_objects
    from hwnas.kernels.target import parse_target

    machine = parse_target(target)
    try:
        program, calls = plan_model(path, machine)
    except HwnasError as refusal:
        return {"refused": str(refusal)}
    objects = kernel_objects(calls, machine, work / "objects" / target)
    return {
        "kernels": [machine_code(one.read_bytes()) for one in objects],
        "constants": hashlib.sha256(program.constants).hexdigest(),
        "arena_bytes": program.arena_bytes,
    }


def machine_code(data: bytes) -> str:
    """A digest of what an object file puts into memory and how it is linked; names of symbols take no part."""
    sections = wasm_sections(data) if data[:4] == b"\0asm" else elf_sections(data)
    return hashlib.sha256(b"".join(struct.pack("<Q", len(part)) + part for part in sections)).hexdigest()


def elf_sections(data: bytes) -> Iterator[bytes]:
    """Contents of the sections of a little-endian ELF file that are loaded, and of the relocations of these.

    Debugging sections hold the symbol's name, and so do the addends of their relocations.
    """
    wide = data[4] == 2
    start = struct.unpack_from("<Q" if wide else "<I", data, 40 if wide else 32)[0]
    size, count = struct.unpack_from("<HH", data, 58 if wide else 46)
    header = "<IIQQQQII" if wide else "<IIIIIIII"
    sections = [struct.unpack_from(header, data, start + number * size) for number in range(count)]
    for _, kind, flags, _, offset, length, _, about in sections:
        loaded = sections[about][2] if kind in (SHT_REL, SHT_RELA) else flags
        if loaded & SHF_ALLOC and kind != SHT_NOBITS:
            yield data[offset : offset + length]


def wasm_sections(data: bytes) -> Iterator[bytes]:
    """The code and data sections of a WebAssembly object."""
    at = 8
    while at < len(data):
        kind, at = data[at], at + 1
        length = shift = 0
        while True:  # LEB128
            byte, at = data[at], at + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if kind in (WASM_CODE, WASM_DATA):
            yield data[at : at + length]
        at += length


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
