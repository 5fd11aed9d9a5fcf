"""Plays a compiled program's steps from memory: the kernels linked into one library, everything else as data.

An exported model carries its steps as C text. Compiling that text takes longer than timing the block, so here the same
steps (halos to fill, then one kernel call) are a table that a small C loop walks; the loop is compiled once a process.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.load import aligned
from hwnas.export.native.templates import FILL_BYTES, FILL_PATTERN

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

void play(const struct step *steps, int from, int to, long repeats)
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
    kept: tuple[object, ...]
    first: int
    last: int

    def run_us(self, repeats: int) -> float:
        start = time.perf_counter_ns()
        self.play(self.steps, self.first, self.last, repeats)
        return (time.perf_counter_ns() - start) / 1e3


def load_program(
    program: Program, objects: Sequence[Path], compiler: Sequence[str], first: int, last: int
) -> StepsRunner:
    """The program with random input, run once whole so that every step finds plausible values, then limited to
    steps [first, last). `objects` define the kernels; `compiler` links them."""
    library = _linked(objects, compiler)
    rng = np.random.default_rng(0)
    given = aligned(program.input_bytes, program.alignment)
    for end in program.inputs:
        values = random_input(rng, end.shape, end.type, end.below).reshape(-1)
        given[end.offset : end.offset + end.bytes].view(values.dtype)[:] = values
    constants = aligned(len(program.constants), program.alignment)
    constants[:] = np.frombuffer(program.constants, np.uint8)
    memory = {
        "input": given,
        "output": aligned(program.output_bytes, program.alignment),
        "arena": aligned(program.arena_bytes, program.alignment),
        "constants": constants,
    }
    base = {name: buffer.ctypes.data for name, buffer in memory.items()}
    steps = (_Step * len(program.calls))(*(_step(call, base, library) for call in program.calls))
    kept = (library, memory)
    whole = StepsRunner(_player(tuple(compiler)), steps, kept, 0, len(program.calls))
    whole.run_us(1)
    return StepsRunner(whole.play, steps, kept, first, last)


def random_input(rng: np.random.Generator, shape: tuple[int, ...], kind: str, below: int = 0) -> np.ndarray:
    """Plausible values of a model's input: normal ones, 8-bit codes or pixels, or whole numbers (under `below`)."""
    if kind == "float32":
        return rng.standard_normal(shape).astype(np.float32)
    limits = np.iinfo(kind)
    low, high = (0, below) if below else (max(limits.min, -128), min(limits.max, 255) + 1)
    return rng.integers(low, high, shape).astype(kind)


def _step(call: Call, base: dict[str, int], library: ctypes.CDLL) -> _Step:
    if len(call.pointers) > MOST_POINTERS:
        raise HwnasError(f"step {call.kind} passes {len(call.pointers)} pointers, at most {MOST_POINTERS} are played")
    arguments = (ctypes.c_void_p * len(call.pointers))(*(base[place] + offset for place, offset in call.pointers))
    fills = (_Fill * max(1, len(call.fills)))(*(_fill(fill, base["arena"]) for fill in call.fills))
    kernel = ctypes.cast(getattr(library, call.symbol), ctypes.c_void_p)
    return _Step(kernel, arguments, fills, len(arguments), len(call.fills))


def _fill(fill: Fill, arena: int) -> _Fill:
    pattern = fill.pattern[:1] if len(set(fill.pattern)) == 1 else fill.pattern
    sizes = (fill.rows, fill.interior, fill.top, fill.bottom, fill.left, fill.right)
    return _Fill(arena + fill.offset, *sizes, len(pattern), pattern)


@functools.cache
def _player(compiler: tuple[str, ...]) -> ctypes._NamedFuncPointer:
    def case(count: int) -> str:
        given = ", ".join(f"p[{i}]" for i in range(count))
        types = ", ".join(["void *"] * count) or "void"
        return f"    case {count}: ((void (*)({types}))kernel)({given}); break;"

    text = _PLAYER.replace("#CASES", "\n".join(case(count) for count in range(MOST_POINTERS + 1)))
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        (Path(folder) / "player.c").write_text(text)
        _run([*compiler, "-O2", "-fPIC", "-shared", "-w", "-o", "libplayer.so", "player.c"], folder)
        play = ctypes.CDLL(f"{folder}/libplayer.so").play
    play.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    play.restype = None
    return play


def _linked(objects: Sequence[Path], compiler: Sequence[str]) -> ctypes.CDLL:
    """The kernels as a loaded shared library; its file is gone once loaded."""
    # A file name of its own: the loader takes two libraries of one name for the same one.
    name = f"lib{hashlib.sha256(''.join(map(str, objects)).encode()).hexdigest()[:12]}.so"
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        flags = ["-shared", "-nostdlib", "-Wl,-z,noexecstack", "-o", name]
        _run([*compiler, *flags, *(str(path.resolve()) for path in objects)], folder)
        return ctypes.CDLL(f"{folder}/{name}")


def _run(command: Sequence[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HwnasError(f"the C compiler failed: {' / '.join(done.stderr.split(chr(10))[:3])}")
