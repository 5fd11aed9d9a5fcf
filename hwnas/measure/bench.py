"""Times any ONNX file: every engine in the same interleaved rounds, the first run in a fresh process, and by layer.

A run is one call: what Python's binding adds to it is taken off, in every engine (hwnas.measure.calls).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.boards import Board, outcomes_of
from hwnas.engines import AnyModel, Layer, Taken
from hwnas.errors import HwnasError
from hwnas.extras import missing_extra
from hwnas.measure.backend import reachable_board
from hwnas.measure.cold import cold_us
from hwnas.measure.harness import Plan, Timing
from hwnas.measure.onnx_file import Input, inputs_of, read_model
from hwnas.measure.statistics import of_loads
from hwnas.profile import DeviceProfile

if TYPE_CHECKING:
    from onnx import ModelProto

LOADS = 3  # where memory happens to lie decides a few percent for as long as a model stays loaded


@dataclass(frozen=True, slots=True)
class Row:
    """One engine's figures, microseconds: medians over `LOADS` loads of each load's statistic. Where the engine does
    not take the model, `reason` says why and there is no figure."""

    engine: str
    version: str = ""
    reason: str = ""
    min_us: float | None = None
    p50_us: float | None = None
    p90_us: float | None = None
    p99_us: float | None = None
    samples: int = 0
    runs: int = 0
    load_us: float | None = None
    first_run_us: float | None = None
    layers: tuple[Layer, ...] = ()
    note: str = ""

    @property
    def ok(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Bench:
    """What was asked of every engine: a model with its inputs, on a device that is this machine."""

    path: Path
    model: ModelProto
    inputs: tuple[Input, ...]
    board: Board
    threads: int
    tables_dir: Path


@dataclass(frozen=True)
class _Candidate:
    """An engine that took the model. `cold` are loading and first run in a fresh process, which comes before anything
    is loaded here: a file that crashes its engine must not end the bench."""

    version: str
    taken: Taken
    cold: tuple[float, float]
    note: str


def bench(
    path: Path,
    engines: Sequence[str],
    device: DeviceProfile,
    tables_dir: Path,
    threads: int = 1,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    by_layer: bool = False,
    plan: Plan | None = None,
) -> list[Row]:
    """Time the ONNX file at `path` in every one of `engines`, a row each; what an engine refuses is in its row.

    HwnasError where the file is no model, a shape does not fit, or the device is not this machine.
    """
    board = reachable_board(device, tables_dir, "run the same command on it")
    if not board.real:
        raise HwnasError(f"device {device.name} has made-up costs, and runs no model", hint="--device local")
    if not board.here:
        raise HwnasError(f"device {device.name} is not this machine", hint="run the same command on it")
    model = read_model(path)
    job = Bench(path, model, tuple(inputs_of(model, shapes or {})), board, threads, tables_dir)
    rows: dict[str, Row] = {}
    with ExitStack() as stack:
        taken = {}
        for engine in dict.fromkeys(engines):
            try:
                taken[engine] = _candidate(engine, job, Path(stack.enter_context(tempfile.TemporaryDirectory())))
            except Exception as problem:  # an engine that refuses the model is a row with the reason
                rows[engine] = Row(engine, reason=one_line(problem))
        timings = _timed(taken, job, plan)
        for engine, candidate in taken.items():
            rows[engine] = _row(engine, candidate, timings[engine], job, by_layer)
    return [rows[engine] for engine in dict.fromkeys(engines)]


def one_line(problem: Exception) -> str:
    """An engine's exception as one line of at most 300 characters."""
    if isinstance(problem, ImportError):
        problem = missing_extra(problem) or problem
    return (" ".join(str(problem).split()) or type(problem).__name__)[:300]


def _timed(taken: dict[str, _Candidate], job: Bench, plan: Plan | None) -> dict[str, list[Timing] | Exception]:
    """All engines' timings, `LOADS` of each, side by side; an engine that fails once has its exception."""
    found: dict[str, list[Timing] | Exception] = {engine: [] for engine in taken}
    for _ in range(LOADS):
        left = [engine for engine, so_far in found.items() if isinstance(so_far, list)]
        with job.board.lease():
            outcomes = outcomes_of(job.board, [taken[engine].taken.artefact for engine in left], plan)
        for engine, outcome in zip(left, outcomes, strict=True):
            so_far = found[engine]
            if isinstance(outcome, Exception) or isinstance(so_far, Exception):
                found[engine] = outcome if isinstance(outcome, Exception) else so_far
            else:
                so_far.append(outcome.timing)
    return found


def _row(engine: str, candidate: _Candidate, timed: list[Timing] | Exception, job: Bench, by_layer: bool) -> Row:
    if isinstance(timed, Exception):
        return Row(engine, candidate.version, one_line(timed))
    note, layers = candidate.note, list[Layer]()
    try:
        if by_layer:
            with job.board.lease():
                layers = candidate.taken.layers()
    except Exception as problem:  # the model was timed; its layers were not, and the row says so
        note = "; ".join(filter(None, [note, one_line(problem)]))
    return Row(
        engine,
        candidate.version,
        min_us=of_loads(timed, "min"),
        p50_us=of_loads(timed, "p50"),
        p90_us=of_loads(timed, "p90"),
        p99_us=of_loads(timed, "p99"),
        samples=sum(len(timing.samples_us) for timing in timed),
        runs=sum(timing.runs for timing in timed),
        load_us=candidate.cold[0],
        first_run_us=candidate.cold[1],
        layers=tuple(layers),
        note=note,
    )


def _candidate(name: str, job: Bench, scratch: Path) -> _Candidate:
    """The engine on the model, cold first. HwnasError, or what the engine raises, where it does not take the model."""
    engine = job.board.engine(name, job.threads, job.tables_dir)
    if not isinstance(engine, AnyModel):
        raise HwnasError(f"{name} runs networks of hwnas alone")
    taken = engine.take(job.path, job.model, job.inputs, scratch)
    return _Candidate(engine.version, taken, cold_us(taken.artefact), taken.note())


def record(rows: Sequence[Row], path: Path, device: DeviceProfile, threads: int) -> dict[str, Any]:
    """The rows as plain JSON values."""
    return {"model": str(path), "device": device.name, "threads": threads, "engines": [asdict(row) for row in rows]}
