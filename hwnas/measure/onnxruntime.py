"""ONNX Runtime on this machine's CPU: a block's or a network's ONNX model in a session, inputs bound once."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from hwnas.export.onnx import block_model, network_model
from hwnas.measure.calls import least_call_us, without_calls
from hwnas.measure.canary import Canary
from hwnas.measure.energy import rapl_energy_uj
from hwnas.measure.harness import Runner
from hwnas.measure.neighbour import behind_a_pool, float_shape, pool_alone
from hwnas.network import Network, Operator

if TYPE_CHECKING:
    from onnx import ModelProto

_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class SessionRunner:
    """A session with random inputs bound."""

    def __init__(self, model: bytes, threads: int, seed: int = 0) -> None:
        self.session = ort.InferenceSession(model, _options(threads), providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        rng = np.random.default_rng(seed)
        self.inputs = {spec.name: _random(spec, rng) for spec in self.session.get_inputs()}
        for name, array in self.inputs.items():
            self.binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        outputs = {spec.name: np.zeros(_static(spec), _TYPES[spec.type]) for spec in self.session.get_outputs()}
        for name, array in outputs.items():
            self.binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))

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


class OnnxRuntimeBackend:
    """Blocks are timed beside what is not theirs: the cost of a call, and that of the neighbour they stand behind."""

    name = "onnxruntime"
    version = f"onnxruntime {ort.__version__}"

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


def _options(threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return options


def _static(spec: Any) -> list[int]:
    """The tensor's shape, with 1 for a dynamic batch axis."""
    return [extent if isinstance(extent, int) else 1 for extent in spec.shape]


def _random(spec: Any, rng: np.random.Generator) -> np.ndarray:
    dtype, shape = np.dtype(_TYPES[spec.type]), _static(spec)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 128, shape).astype(dtype)
