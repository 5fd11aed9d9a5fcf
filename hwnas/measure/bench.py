"""Times any ONNX file: every engine in the same interleaved rounds, the first run in a fresh process, and by layer.

A run is one call: what Python's binding adds to it is taken off, in every engine (hwnas.measure.calls).
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.card import device_clock
from hwnas.device import DeviceProfile
from hwnas.errors import HwnasError
from hwnas.extras import missing_extra
from hwnas.measure.backend import ENGINES, tile_table, why_not_here
from hwnas.measure.cold import cold_us
from hwnas.measure.harness import Plan, Runner, Timing, measure, measure_together
from hwnas.measure.onnx_file import Input, inputs_of, pinned, read_model
from hwnas.measure.statistics import of_loads

if TYPE_CHECKING:
    from onnx import ModelProto

LOADS = 3  # where memory happens to lie decides a few percent for as long as a model stays loaded
LAYER_RUNS = 20  # as many samples of each layer as of the whole model, at least
LAYER_BUDGET_US = 2_000_000.0


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as its engine runs it (fused): the median of its runs."""

    name: str
    kind: str
    p50_us: float


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
    device: DeviceProfile
    threads: int
    tables_dir: Path

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {one.name: one.shape for one in self.inputs}


@dataclass(frozen=True)
class _Candidate:
    """An engine that took the model: `load` gives a fresh runner; `cold` are loading and first run in a fresh process,
    which comes before anything is loaded here: a file that crashes its engine must not end the bench."""

    version: str
    load: Callable[[], Runner]
    layers: Callable[[], list[Layer]]
    cold: tuple[float, float]
    note: str = ""


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
    if device.connection == "made-up":
        raise HwnasError(f"device {device.name} has made-up costs, and runs no model", hint="--device local")
    elsewhere = why_not_here(device)
    if elsewhere is not None:
        raise HwnasError(elsewhere, hint="run the same command on it")
    model = read_model(path)
    job = Bench(path, model, tuple(inputs_of(model, shapes or {})), device, threads, tables_dir)
    rows: dict[str, Row] = {}
    with ExitStack() as stack:
        taken = {}
        for engine in dict.fromkeys(engines):
            try:
                taken[engine] = _MAKERS[engine](job, Path(stack.enter_context(tempfile.TemporaryDirectory())))
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
        runners: dict[str, Runner] = {}
        for engine, so_far in found.items():
            if isinstance(so_far, list):
                try:
                    runners[engine] = taken[engine].load()
                except Exception as problem:  # a failed measurement is data
                    found[engine] = problem
        with device_clock(job.tables_dir, job.device):
            outcomes = measure_together(list(runners.values()), plan)
        for engine, outcome in zip(runners, outcomes, strict=True):
            so_far = found[engine]
            if isinstance(outcome, Exception) or isinstance(so_far, Exception):
                found[engine] = outcome if isinstance(outcome, Exception) else so_far
            else:
                so_far.append(outcome)
    return found


def _row(engine: str, candidate: _Candidate, timed: list[Timing] | Exception, job: Bench, by_layer: bool) -> Row:
    if isinstance(timed, Exception):
        return Row(engine, candidate.version, one_line(timed))
    note, layers = candidate.note, list[Layer]()
    try:
        layers = candidate.layers() if by_layer else []
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


# -- engines -------------------------------------------------------------------------------------------------------


def _onnxruntime(job: Bench, scratch: Path) -> _Candidate:
    from hwnas.measure.onnxruntime import SessionRunner, version

    def load() -> SessionRunner:
        runner = SessionRunner(str(job.path), job.threads, shapes=job.shapes)
        runner.first_run()
        return runner

    cold = cold_us("onnxruntime", job.path, job.threads, job.shapes)
    random = {name: array.any() for name, array in load().inputs.items()}
    zeros = [name for name, some in random.items() if not some]
    note = f"inputs {', '.join(zeros)} are zeros: it refused random numbers" if zeros else ""
    return _Candidate(version(), load, lambda: _session_layers(job, scratch), cold, note)


def _session_layers(job: Bench, scratch: Path) -> list[Layer]:
    """ONNX Runtime's own profile of a session of its own: every kernel it ran, in the order of its graph."""
    from hwnas.measure.onnxruntime import SessionRunner

    with device_clock(job.tables_dir, job.device):
        runner = SessionRunner(str(job.path), job.threads, shapes=job.shapes, profile=scratch / "profile")
        runner.first_run()
        took = runner.run_us(1)
        runner.run_us(max(LAYER_RUNS, min(1000, round(LAYER_BUDGET_US / max(took, 1.0)))) if took < 1e5 else LAYER_RUNS)
    events = json.loads(Path(runner.session.end_profiling()).read_text(encoding="utf-8"))
    return layers_of(events)


def layers_of(events: Sequence[Mapping[str, Any]]) -> list[Layer]:
    """The kernels of a trace in its order, each with the median of its runs; the first run, which warms up, is out."""
    runs: dict[str, list[float]] = {}
    kinds: dict[str, str] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            node = name.removesuffix("_kernel_time")
            runs.setdefault(node, []).append(float(event["dur"]))
            kinds[node] = str(event.get("args", {}).get("op_name", ""))
    return [Layer(node, kinds[node], statistics.median(took[1:] or took)) for node, took in runs.items()]


def _tvm(job: Bench, scratch: Path) -> _Candidate:
    from hwnas.export.native import compile_onnx
    from hwnas.measure.tvm import LibraryRunner, TvmBackend

    tiles = tile_table(job.tables_dir, job.device)
    backend = TvmBackend(job.device, 1, tiles)
    if job.threads != 1:
        raise HwnasError(f"a compiled library runs on one thread, not on {job.threads}")
    ready = pinned(job.model, list(job.inputs))
    folder = scratch / "native"
    compile_onnx(_with_weights(ready, job.path), job.device.target, folder, tiles=tiles)

    def layers() -> list[Layer]:
        steps = backend.steps(_with_weights(ready, job.path))
        with device_clock(job.tables_dir, job.device):
            return [Layer(f"{i}", kind, measure(step).p50_us) for i, (kind, step) in enumerate(steps)]

    return _Candidate(backend.version, lambda: LibraryRunner(folder), layers, cold_us("tvm", folder, 1, {}))


def _with_weights(model: ModelProto, path: Path) -> ModelProto:
    """The model with those weights loaded that lie in files beside it."""
    from onnx import external_data_helper

    external_data_helper.load_external_data_for_model(model, str(path.parent))
    return model


_MAKERS = {"onnxruntime": _onnxruntime, "tvm": _tvm}
assert set(_MAKERS) == set(ENGINES)


def record(rows: Sequence[Row], path: Path, device: DeviceProfile, threads: int) -> dict[str, Any]:
    """The rows as plain JSON values."""
    return {"model": str(path), "device": device.name, "threads": threads, "engines": [asdict(row) for row in rows]}
