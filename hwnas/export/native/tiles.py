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

from hwnas.errors import HwnasError
from hwnas.export.native import link
from hwnas.export.native.lower import Candidate
from hwnas.export.native.memory import aligned
from hwnas.paths import read_json
from hwnas.schema import validated

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
    clock: Callable[[], AbstractContextManager[None]] = nullcontext
    choices: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    changed: bool = False

    def __post_init__(self) -> None:
        if not self.path.exists():
            return
        found = read_json(self.path)
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            raise HwnasError(f"{self.path} is not a tile table of schema {SCHEMA}", hint="delete it and time again")
        where, kind = f"{self.path}: choices", dict[str, dict[str, dict[str, Any]]]
        self.choices = validated(kind, found.get("choices"), where, "delete it and time again")

    def choose(self, candidate: Candidate) -> int:
        """The index of the tile to use."""
        known = self.choices.setdefault(self.target, {})
        symbols = list(candidate.symbols)
        entry = known.get(candidate.key)
        if entry is not None and entry.get("tile") in symbols:
            return symbols.index(entry["tile"])
        from hwnas.kernels.target import parse_target

        machine = parse_target(self.target)
        if not self.time_missing or not link.runs_here(machine):
            return 0
        nanoseconds = time_candidates(candidate, machine, self.clock())
        best = int(np.argmin(nanoseconds))
        self.changed = True
        known[candidate.key] = {"tile": symbols[best], "ns": [round(n) for n in nanoseconds]}
        return best

    def save(self) -> None:
        """Writes the file whole, where there is something new."""
        if not self.changed:
            return
        self.changed = False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"schema": SCHEMA, "choices": self.choices}, indent=1, sort_keys=True) + "\n")
        part.replace(self.path)


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
