"""ONNX Runtime on a CPU: a block's or a network's ONNX file in a session, inputs bound once."""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hwnas import ops
from hwnas.engines import Artefact, Layer, Taken
from hwnas.errors import HwnasError
from hwnas.export.onnx import block_model, network_model
from hwnas.measure.calls import least_call_us, without_calls
from hwnas.measure.neighbour import behind_a_pool, float_shape, pool_alone
from hwnas.measure.onnx_file import constant_bytes
from hwnas.network import Network, Operator

if TYPE_CHECKING:
    from onnx import ModelProto

    from hwnas.measure.onnx_file import Input
    from hwnas.profile import DeviceProfile

LAYER_RUNS = 20  # as many samples of each layer as of the whole model, at least
LAYER_BUDGET_US = 2_000_000.0


class SessionRunner:
    """A session with random inputs bound. `shapes` are of inputs whose axes are free; without one a free axis is 1."""

    def __init__(
        self,
        model: bytes | str,
        threads: int,
        seed: int = 0,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        profile: Path | None = None,
    ) -> None:
        """`model` is a file's content or its path; `profile` is where `layers` may write its trace."""
        import onnxruntime as ort

        self.session = ort.InferenceSession(model, _options(threads, profile), providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        rng, shapes = np.random.default_rng(seed), shapes or {}
        specs = self.session.get_inputs()
        self.inputs = {spec.name: _random(spec, shapes.get(spec.name) or _static(spec), rng) for spec in specs}
        self._bind()
        for spec in self.session.get_outputs():
            dtype = _dtype(spec)
            if dtype is not None and all(isinstance(extent, int) and extent > 0 for extent in spec.shape):
                self.binding.bind_ortvalue_output(spec.name, _ort_value(np.zeros(spec.shape, dtype)))
            else:
                self.binding.bind_output(spec.name, "cpu")  # its shape is known only after a run

    def _bind(self) -> None:
        for name, array in self.inputs.items():
            self.binding.bind_ortvalue_input(name, _ort_value(array))

    def first_run(self) -> None:
        """One run. Where random integers are refused (they may be indices out of range), they become zeros for good."""
        try:
            self.session.run_with_iobinding(self.binding)
        except Exception:
            if all(array.dtype.kind not in "iu" for array in self.inputs.values()):
                raise
            self.inputs = {n: np.zeros_like(a) if a.dtype.kind in "iu" else a for n, a in self.inputs.items()}
            self._bind()
            self.session.run_with_iobinding(self.binding)

    def run_us(self, repeats: int) -> float:
        run, binding = self.session.run_with_iobinding, self.binding
        start = time.perf_counter_ns()
        for _ in range(repeats):
            run(binding)
        return without_calls((time.perf_counter_ns() - start) / 1e3, repeats, empty_call_us())


@functools.cache
def empty_call_us() -> float:
    """What Python adds to a call of a session, once a process: one that comes back at once, through the same binding.

    Waiting for the inputs of a binding without any is a method of Python's wrapper that calls one of the engine's, as a
    run is; on the CPU it has nothing to do.
    """
    import onnxruntime as ort

    session = ort.InferenceSession(pass_through().SerializeToString(), _options(1), providers=["CPUExecutionProvider"])
    return least_call_us(session.io_binding().synchronize_inputs)


class Engine:
    """Blocks are timed beside what is not theirs: the cost of a call, and that of the neighbour they stand behind."""

    general: ClassVar[bool] = True
    precisions: ClassVar[frozenset[str] | None] = None
    exact: ClassVar[tuple[str, ...]] = ("size",)
    compiles: ClassVar[bool] = False

    def __init__(self, device: DeviceProfile, threads: int = 1, tables_dir: Path | None = None) -> None:
        self.threads = threads
        self.version = self.installed_version()

    @staticmethod
    def installed_version() -> str:
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"

    @staticmethod
    def artefact_name(precision: str, model: str) -> str:
        return model

    @staticmethod
    def sources() -> Mapping[str, str]:
        return {}

    @staticmethod
    def price(network: Network, target: str) -> dict[str, int]:
        """ONNX Runtime's own allocator cannot be asked beforehand: the bytes of the constants alone."""
        return {"size": constant_bytes(network_model(network).SerializeToString())}

    @staticmethod
    def least_memory(operator: Operator, image_channels: int) -> float:
        """An estimate from shapes."""
        return float(ops.least_peak_bytes(operator))

    def choices(self, built: Mapping[str, Any] | None) -> dict[str, Any]:
        return {}

    def build(self, model: ModelProto | Path, target: str, folder: Path) -> Artefact:
        """An ONNX file runs as it is; one that is not a file yet is written into `folder`."""
        return self._artefact(model if isinstance(model, Path) else _written(model, folder))

    def built(self, path: Path, network: Network) -> Artefact:
        return self._artefact(path)

    def block(self, operator: Operator, folder: Path) -> Artefact:
        model = block_model(operator)
        return self._artefact(_written(model if float_shape(model) is None else behind_a_pool(model), folder))

    def network(self, network: Network, seed: int, folder: Path) -> Artefact:
        return self._artefact(_written(network_model(network, seed), folder))

    def baseline(self, operator: Operator, folder: Path) -> Artefact:
        shape = float_shape(block_model(operator))
        path = folder / f"baseline-{'-'.join(map(str, shape or ('call',)))}.onnx"
        if not path.exists():
            path.write_bytes((pass_through() if shape is None else pool_alone(shape)).SerializeToString())
        return self._artefact(path)

    def take(self, path: Path, model: ModelProto, inputs: tuple[Input, ...], folder: Path) -> Taken:
        """The file as it is, its layers by ONNX Runtime's own profile."""
        shapes = {one.name: list(one.shape) for one in inputs}
        artefact = Artefact("onnxruntime", path, {"threads": self.threads, "shapes": shapes})

        def note() -> str:
            zeros = [name for name, array in self.open(artefact).inputs.items() if not array.any()]
            return f"inputs {', '.join(zeros)} are zeros: it refused random numbers" if zeros else ""

        return Taken(artefact, lambda: session_layers(artefact, folder / "profile"), note)

    @staticmethod
    def load(artefact: Artefact) -> Callable[[], object]:
        return _session(artefact).first_run

    def _artefact(self, path: Path) -> Artefact:
        return Artefact("onnxruntime", path, {"threads": self.threads})

    @staticmethod
    def open(artefact: Artefact) -> SessionRunner:
        """A session; one of a file that is not of hwnas has run once, on inputs that it takes."""
        runner = _session(artefact)
        if "shapes" in artefact.options:
            runner.first_run()
        return runner

    @staticmethod
    def run(artefact: Artefact, inputs: np.ndarray) -> np.ndarray:
        import onnxruntime

        options = _options(int(artefact.options["threads"]))
        session = onnxruntime.InferenceSession(str(artefact.path), options, providers=["CPUExecutionProvider"])
        source = session.get_inputs()[0]
        size = source.shape[0] if isinstance(source.shape[0], int) else len(inputs)
        parts = [inputs[i : i + size] for i in range(0, len(inputs), size)]
        return np.concatenate([np.asarray(session.run(None, {source.name: part})[0]) for part in parts])


def _session(artefact: Artefact, profile: Path | None = None) -> SessionRunner:
    threads, shapes = int(artefact.options["threads"]), artefact.options.get("shapes")
    if shapes is None:  # of hwnas: nothing lies beside the file
        return SessionRunner(artefact.path.read_bytes(), threads)
    wanted = {name: tuple(shape) for name, shape in shapes.items()}
    return SessionRunner(str(artefact.path), threads, shapes=wanted, profile=profile)


def _written(model: ModelProto, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def session_layers(artefact: Artefact, trace: Path) -> list[Layer]:
    """ONNX Runtime's own profile of a session of its own: every kernel it ran, in the order of its graph."""
    runner = _session(artefact, trace)
    runner.first_run()
    took = runner.run_us(1)
    runner.run_us(max(LAYER_RUNS, min(1000, round(LAYER_BUDGET_US / max(took, 1.0)))) if took < 1e5 else LAYER_RUNS)
    return layers_of(json.loads(Path(runner.session.end_profiling()).read_text(encoding="utf-8")))


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


def pass_through() -> ModelProto:
    """A model that passes one float through: what a call costs."""
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Identity", ["input"], ["output"])], "empty", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _options(threads: int, profile: Path | None = None) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # what goes wrong is raised; a log beside it would be a second line
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return options


def _static(spec: Any) -> tuple[int, ...]:
    """The tensor's shape, with 1 for a free axis."""
    return tuple(extent if isinstance(extent, int) and extent > 0 else 1 for extent in spec.shape)


def _dtype(spec: Any) -> np.dtype[Any] | None:
    """`tensor(float)` as numpy knows it; None for what numpy has not (text, sequences, 4-bit numbers)."""
    name = str(spec.type).removeprefix("tensor(").removesuffix(")")
    name = {"float": "float32", "double": "float64"}.get(name, name)
    if name in ("string", "object") or not str(spec.type).startswith("tensor("):
        return None
    try:
        return np.dtype(name)
    except TypeError:
        return None


def _ort_value(array: np.ndarray) -> Any:
    import onnxruntime as ort

    return ort.OrtValue.ortvalue_from_numpy(array)


def _random(spec: Any, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    dtype = _dtype(spec)
    if dtype is None:
        raise HwnasError(f"input {spec.name} is a {spec.type}, which no random numbers stand in for")
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2 if dtype.kind == "b" else 128, shape).astype(dtype)
