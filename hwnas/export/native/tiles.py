"""Chooses a kernel's tile by timing the candidates once on this machine; a JSON file keeps the choices."""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.card import CLOCK, locked, turn
from hwnas.errors import HwnasError
from hwnas.export.native import link
from hwnas.export.native.lower import Candidate
from hwnas.kernels.memory import aligned
from hwnas.paths import read_json, write_text

if TYPE_CHECKING:
    from hwnas.kernels.target import Target

SCHEMA = 1
#: a sample is at least this long, so that the clock's resolution does not matter
SAMPLE_SECONDS = 2e-4
ROUNDS = 7


@dataclass
class TileTable:
    """Tile choices by target and kernel, kept in a JSON file; `choose` times a kernel that the table lacks.

    With `time_missing=False`, or for a target that is not this machine's, missing kernels get their default tile.
    `clock` is held while one is timed (hwnas.card.device_clock).
    """

    path: Path
    target: str
    time_missing: bool = True
    #: held while tiles are timed, since what is timed on one device takes turns; by default the lock beside the file
    clock: Callable[[], AbstractContextManager[None]] | None = None
    choices: dict[str, dict[str, Any]] = field(default_factory=dict)
    new: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            self.choices = _read(self.path)

    def choose(self, candidate: Candidate) -> int:
        """The index of the tile to use."""
        known = self.choices.setdefault(self.target, {})
        symbols = list(candidate.symbols)
        entry = known.get(candidate.key)
        if entry is not None and entry["tile"] in symbols:
            return symbols.index(entry["tile"])
        from hwnas.kernels.target import parse_target

        machine = parse_target(self.target)
        if not self.time_missing or not link.runs_here(machine):
            return 0
        clock = turn(self.path.with_name(CLOCK), "this machine") if self.clock is None else self.clock()
        nanoseconds = time_candidates(candidate, machine, clock)
        best = int(np.argmin(nanoseconds))
        self.new[candidate.key] = known[candidate.key] = {"tile": symbols[best], "ns": [round(n) for n in nanoseconds]}
        return best

    def save(self) -> None:
        """Writes what was timed here into the file, whole, beside what other processes put there meanwhile."""
        if not self.new:
            return
        with locked(self.path):
            kept = _read(self.path) if self.path.exists() else {}
            kept.setdefault(self.target, {}).update(self.new)
            write_text(self.path, json.dumps({"schema": SCHEMA, "choices": kept}, indent=1, sort_keys=True) + "\n")
        self.choices, self.new = kept, {}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The choices in a tile table's file: target -> kernel -> {"tile": symbol, "ns": [...]}."""
    found = read_json(path)
    choices = found.get("choices") if isinstance(found, dict) and found.get("schema") == SCHEMA else None
    entries = [*choices.values()] if isinstance(choices, dict) else [None]
    kernels = [entry for kept in entries for entry in (kept.values() if isinstance(kept, dict) else [None])]
    if choices is None or not all(isinstance(entry, dict) and isinstance(entry.get("tile"), str) for entry in kernels):
        raise HwnasError(f"{path} is not a tile table of schema {SCHEMA}", hint="delete it and time again")
    return dict(choices)


def time_candidates(
    candidate: Candidate, machine: Target, clock: AbstractContextManager[None] | None = None
) -> list[float]:
    """Nanoseconds a call of each tile: the least of interleaved rounds, on zeroed buffers."""
    calls = _load(candidate, machine)
    buffers = [aligned(size + 64, 64) for size in candidate.sizes]
    pointers = [buffer.ctypes.data for buffer in buffers]
    best = [float("inf")] * len(calls)
    with clock or nullcontext():
        loops = [_loops(call, pointers) for call in calls]
        for _ in range(ROUNDS):
            for index, call in enumerate(calls):
                best[index] = min(best[index], _time(call, pointers, loops[index]) / loops[index] * 1e9)
    return best


Function = Callable[..., None]


def _load(candidate: Candidate, machine: Target) -> list[Function]:
    """Every tile's function, from one library."""
    import tempfile

    from hwnas.kernels.codegen import compile_object

    functions = [candidate.build(i).with_attr("global_symbol", s) for i, s in enumerate(candidate.symbols)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "tiles.o").write_bytes(compile_object(functions, machine))
        link.run(
            [*link.toolchain(machine).compiler, "-shared", "-o", "tiles.so", "tiles.o", "-Wl,-z,noexecstack"], path
        )
        library = ctypes.CDLL(str(path / "tiles.so"))
    found = []
    for symbol in candidate.symbols:
        function = getattr(library, symbol)
        function.argtypes, function.restype = [ctypes.c_void_p] * len(candidate.sizes), None
        found.append(function)
    return found


def _time(call: Function, pointers: Sequence[int], loops: int) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        call(*pointers)
    return time.perf_counter() - start


def _loops(call: Function, pointers: Sequence[int]) -> int:
    _time(call, pointers, 1)
    return max(1, round(SAMPLE_SECONDS / max(_time(call, pointers, 3) / 3, 1e-7)))
