"""Plays a compiled program's steps from memory: the kernels linked into one library, everything else as data.

An exported model carries its steps as C text. Compiling that text takes longer than timing the block, so here the same
steps (halos to fill, then one kernel call) are a table that a small C loop walks; the loop is compiled once a process.
A program is a folder: `libplay.so` (the kernels and the loop), `constants.bin` and `program.json`.
"""

from __future__ import annotations

import ctypes
import functools
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.templates import FILL_BYTES, FILL_PATTERN
from hwnas.kernels.memory import aligned

if TYPE_CHECKING:
    from hwnas.export.native.program import Call, Fill, Program

MOST_POINTERS = 16

_PLAYER = (
    "#include <stddef.h>\n"
    + FILL_BYTES
    + FILL_PATTERN
    + """
struct fill { unsigned char *at; long rows, interior, top, bottom, left, right, length; const unsigned char *pattern; };
struct step { void (*kernel)(); void **argument; struct fill *fill; long arguments, fills; };

static void call(void (*kernel)(), void **p, long count)
{
    switch (count) {
#CASES
    }
}

void hwnas_play(const struct step *steps, int from, int to, long repeats)
{
    for (long run = 0; run < repeats; run++)
        for (const struct step *s = steps + from; s < steps + to; s++) {
            for (const struct fill *f = s->fill; f < s->fill + s->fills; f++)
                if (f->length == 1)
                    fill_bytes(f->at, f->rows, f->interior, f->top, f->bottom, f->left, f->right, f->pattern[0]);
                else
                    fill_pattern(f->at, f->rows, f->interior, f->top, f->bottom, f->left, f->right, f->pattern,
                                 f->length);
            call(s->kernel, s->argument, s->arguments);
        }
}
"""
)


class _Fill(ctypes.Structure):
    _fields_ = (
        ("at", ctypes.c_void_p),
        *((name, ctypes.c_long) for name in ("rows", "interior", "top", "bottom", "left", "right", "length")),
        ("pattern", ctypes.c_char_p),
    )


class _Step(ctypes.Structure):
    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("argument", ctypes.POINTER(ctypes.c_void_p)),
        ("fill", ctypes.POINTER(_Fill)),
        ("arguments", ctypes.c_long),
        ("fills", ctypes.c_long),
    )


@dataclass(frozen=True)
class StepsRunner:
    """Steps [first, last) of a program; `kept` holds the memory and the library that the steps point into."""

    play: ctypes._NamedFuncPointer
    steps: ctypes.Array[_Step]
    kept: tuple[Any, ...]
    first: int
    last: int

    def run_us(self, repeats: int) -> float:
        start = time.perf_counter_ns()
        self.play(self.steps, self.first, self.last, repeats)
        return (time.perf_counter_ns() - start) / 1e3


def load_program(
    program: Program, objects: Sequence[Path], compiler: Sequence[str], first: int, last: int
) -> StepsRunner:
    """The program in this process, limited to steps [first, last); its files are gone once loaded."""
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        write_program(program, objects, compiler, Path(folder))
        return open_program(Path(folder), first, last)


def write_program(program: Program, objects: Sequence[Path], compiler: Sequence[str], folder: Path) -> None:
    """The program as files of `folder`. `objects` define the kernels; `compiler` links them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "play.o").write_bytes(_player(tuple(compiler)))
    flags = ["-shared", "-nostdlib", "-Wl,-z,noexecstack", "-o", "libplay.so", "play.o"]
    _run([*compiler, *flags, *(str(path.resolve()) for path in objects)], folder)
    (folder / "play.o").unlink()
    (folder / "constants.bin").write_bytes(program.constants)
    record = {
        "alignment": program.alignment,
        "inputs": [[end.offset, list(end.shape), end.type, end.below] for end in program.inputs],
        "input_bytes": program.input_bytes,
        "output_bytes": program.output_bytes,
        "arena_bytes": program.arena_bytes,
        "calls": [_call_record(call) for call in program.calls],
    }
    (folder / "program.json").write_text(json.dumps(record))


def _call_record(call: Call) -> dict[str, Any]:
    if len(call.pointers) > MOST_POINTERS:
        raise HwnasError(f"step {call.kind} passes {len(call.pointers)} pointers, at most {MOST_POINTERS} are played")
    fills = [_fill_record(fill) for fill in call.fills]
    return {"symbol": call.symbol, "pointers": list(call.pointers), "fills": fills}


def _fill_record(fill: Fill) -> list[Any]:
    pattern = fill.pattern[:1] if len(set(fill.pattern)) == 1 else fill.pattern
    sizes = [fill.offset, fill.rows, fill.interior, fill.top, fill.bottom, fill.left, fill.right]
    return [*sizes, pattern.hex()]


def open_program(folder: Path, first: int, last: int) -> StepsRunner:
    """A written program with random input, run once whole so that every step finds plausible values, then limited to
    steps [first, last)."""
    record = json.loads((folder / "program.json").read_text(encoding="utf-8"))
    library, alignment = ctypes.CDLL(str(folder.resolve() / "libplay.so")), record["alignment"]
    given, rng = aligned(record["input_bytes"], alignment), np.random.default_rng(0)
    for offset, shape, kind, below in record["inputs"]:
        values = random_input(rng, tuple(shape), kind, below).reshape(-1)
        given[offset : offset + values.nbytes].view(values.dtype)[:] = values
    stored = np.fromfile(folder / "constants.bin", np.uint8)
    constants = aligned(stored.size, alignment)
    constants[:] = stored
    memory = {
        "input": given,
        "output": aligned(record["output_bytes"], alignment),
        "arena": aligned(record["arena_bytes"], alignment),
        "constants": constants,
    }
    base = {name: buffer.ctypes.data for name, buffer in memory.items()}
    for call in record["calls"]:  # steps point into these bytes: the record is kept as long as they are
        call["fills"] = [[*sizes, bytes.fromhex(pattern)] for *sizes, pattern in call["fills"]]
    steps = (_Step * len(record["calls"]))(*(_step(call, base, library) for call in record["calls"]))
    play = library.hwnas_play
    play.argtypes, play.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_long], None
    whole = StepsRunner(play, steps, (library, memory, record), 0, len(steps))
    whole.run_us(1)
    return replace(whole, first=first, last=last)


def random_input(rng: np.random.Generator, shape: tuple[int, ...], kind: str, below: int = 0) -> np.ndarray:
    """Plausible values of a model's input: normal ones, 8-bit codes or pixels, or whole numbers (under `below`)."""
    if kind == "float32":
        return rng.standard_normal(shape).astype(np.float32)
    limits = np.iinfo(kind)
    low, high = (0, below) if below else (max(limits.min, -128), min(limits.max, 255) + 1)
    return rng.integers(low, high, shape).astype(kind)


def _step(call: dict[str, Any], base: dict[str, int], library: ctypes.CDLL) -> _Step:
    pointers = [base[place] + offset for place, offset in call["pointers"]]
    arguments = (ctypes.c_void_p * len(pointers))(*pointers)
    fills = (_Fill * max(1, len(call["fills"])))(*(_fill(fill, base["arena"]) for fill in call["fills"]))
    kernel = ctypes.cast(getattr(library, call["symbol"]), ctypes.c_void_p)
    return _Step(kernel, arguments, fills, len(arguments), len(call["fills"]))


def _fill(record: list[Any], arena: int) -> _Fill:
    offset, *sizes, pattern = record
    return _Fill(arena + offset, *sizes, len(pattern), pattern)


@functools.cache
def _player(compiler: tuple[str, ...]) -> bytes:
    """The loop as an object file, compiled once a process."""

    def case(count: int) -> str:
        given = ", ".join(f"p[{i}]" for i in range(count))
        types = ", ".join(["void *"] * count) or "void"
        return f"    case {count}: ((void (*)({types}))kernel)({given}); break;"

    text = _PLAYER.replace("#CASES", "\n".join(case(count) for count in range(MOST_POINTERS + 1)))
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        (Path(folder) / "play.c").write_text(text)
        _run([*compiler, "-O2", "-fPIC", "-c", "-w", "-o", "play.o", "play.c"], Path(folder))
        return (Path(folder) / "play.o").read_bytes()


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HwnasError(f"the C compiler failed: {' / '.join(done.stderr.split(chr(10))[:3])}")
