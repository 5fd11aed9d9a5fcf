"""ONNX Runtime on this machine's CPU: a block's or a network's ONNX model in a session, inputs bound once."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from hwnas.errors import HwnasError
from hwnas.export.onnx import block_model, network_model
from hwnas.measure.calls import least_call_us, without_calls
from hwnas.measure.canary import Canary
from hwnas.measure.energy import rapl_energy_uj
from hwnas.measure.harness import Runner
from hwnas.measure.neighbour import behind_a_pool, float_shape, pool_alone
from hwnas.network import Network, Operator

if TYPE_CHECKING:
    from onnx import ModelProto


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
    session = ort.InferenceSession(pass_through().SerializeToString(), _options(1), providers=["CPUExecutionProvider"])
    return least_call_us(session.io_binding().synchronize_inputs)


def version() -> str:
    return f"onnxruntime {ort.__version__}"


class OnnxRuntimeBackend:
    """Blocks are timed beside what is not theirs: the cost of a call, and that of the neighbour they stand behind."""

    name = "onnxruntime"
    version = version()

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._baselines: dict[tuple[int, ...] | None, SessionRunner] = {}

    def block(self, operator: Operator) -> SessionRunner:
        model = block_model(operator)
        return self.model(model if float_shape(model) is None else behind_a_pool(model))

    def baseline(self, operator: Operator) -> Runner | None:
        shape = float_shape(block_model(operator))
        if shape not in self._baselines:
            self._baselines[shape] = self.model(pass_through() if shape is None else pool_alone(shape))
        return self._baselines[shape]

    def network(self, network: Network, seed: int) -> SessionRunner:
        return self.model(network_model(network, seed))

    def model(self, model: ModelProto | bytes) -> SessionRunner:
        """A runner of any ONNX model with static shapes."""
        return SessionRunner(model if isinstance(model, bytes) else model.SerializeToString(), self.threads)

    def canary(self) -> Runner | None:
        return Canary()

    def energy_uj(self, runner: Runner, latency_us: float) -> tuple[float, str] | None:
        return rapl_energy_uj(runner, latency_us)


def pass_through() -> ModelProto:
    """A model that passes one float through: what a call costs."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Identity", ["input"], ["output"])], "empty", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _options(threads: int, profile: Path | None = None) -> Any:
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
    return ort.OrtValue.ortvalue_from_numpy(array)


def _random(spec: Any, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    dtype = _dtype(spec)
    if dtype is None:
        raise HwnasError(f"input {spec.name} is a {spec.type}, which no random numbers stand in for")
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2 if dtype.kind == "b" else 128, shape).astype(dtype)
