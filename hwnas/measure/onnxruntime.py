"""ONNX Runtime on this machine's CPU: a block's or a network's ONNX model in a session, inputs bound once."""

from __future__ import annotations

import functools
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from hwnas.export.onnx import block_model, network_model
from hwnas.measure.energy import rapl_energy_uj
from hwnas.measure.harness import Plan, Runner, measure
from hwnas.network import Network, Operator

if TYPE_CHECKING:
    from onnx import ModelProto

LEAST_US = 0.01  # a block that costs no more than an empty call: kept above zero, far below what any clock resolves
_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class SessionRunner:
    """A session with random inputs bound. `overhead_us` is what calling an empty session costs, taken off each run."""

    def __init__(self, model: bytes, threads: int, overhead_us: float = 0.0, seed: int = 0) -> None:
        self.overhead_us = overhead_us
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
        took = (time.perf_counter_ns() - start) / 1e3
        return max(took - repeats * self.overhead_us, repeats * LEAST_US)


class OnnxRuntimeBackend:
    """Blocks are timed without the cost of an empty call, which a network pays once and not once a block."""

    name = "onnxruntime"
    version = f"onnxruntime {ort.__version__}"

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def block(self, operator: Operator) -> SessionRunner:
        return self.model(block_model(operator), empty_call_us(self.threads))

    def network(self, network: Network, seed: int) -> SessionRunner:
        return self.model(network_model(network, seed))

    def model(self, model: ModelProto | bytes, overhead_us: float = 0.0) -> SessionRunner:
        """A runner of any ONNX model with static shapes."""
        data = model if isinstance(model, bytes) else model.SerializeToString()
        return SessionRunner(data, self.threads, overhead_us)

    def energy_uj(self, runner: Runner, latency_us: float) -> tuple[float, str] | None:
        return rapl_energy_uj(runner, latency_us)


@functools.cache
def empty_call_us(threads: int) -> float:
    """What one call of a session costs that does nothing (one float through Identity): median of three timings."""
    from onnx import TensorProto, helper

    end = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Identity", ["input"], ["output"])], "empty", end[:1], end[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    runner = SessionRunner(model.SerializeToString(), threads)
    return statistics.median(measure(runner, Plan(round_us=5_000.0)).latency_us for _ in range(3))


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
