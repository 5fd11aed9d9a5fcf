"""A native operator's examples as ONNX models of one node, and such a model compiled and run on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hwnas.export.native import link
from hwnas.export.native.compile import plan_model
from hwnas.export.native.ends import unpacked
from hwnas.export.native.operator import Constant, Example, Given, Whole
from hwnas.measure.player import load_program

if TYPE_CHECKING:
    from hwnas.export.native.lower import KernelCall
    from hwnas.export.native.program import Program
    from hwnas.kernels.target import Target

OPSET = 21
MOST = 9


class _Model:
    """Collects the nodes around one node, with sizes drawn by name."""

    def __init__(self, example: Example, quantised: bool, seed: int) -> None:
        self.example, self.quantised = example, quantised
        self.random = np.random.default_rng(seed)
        self.sizes: dict[str, int] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.arrays: list[np.ndarray] = []

    def shape(self, named: tuple[int | str, ...]) -> tuple[int, ...]:
        return tuple(
            size if isinstance(size, int) else self.sizes.setdefault(size, int(self.random.integers(1, MOST)))
            for size in named
        )

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def given(self, item: Given) -> str:
        if isinstance(item, Constant):
            return self.fixed(item)
        name = f"x{len(self.inputs)}"
        if isinstance(item, Whole):
            self.arrays.append(self.random.integers(0, item.below, self.shape(item.shape)))
            self.inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, self.arrays[-1].shape))
            return name
        drawn = self.random.normal(size=self.shape(item)).astype(np.float32)
        self.arrays.append(np.abs(drawn) + np.float32(0.1) if self.example.positive else drawn)
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, self.arrays[-1].shape))
        return self.codes(name, 0.03, 120) if self.quantised else name

    def fixed(self, item: Constant) -> str:
        if item.values is not None:
            return self.constant(item.values)
        array = self.random.normal(size=self.shape(item.shape)).astype(np.float32)
        array = np.abs(array) + np.float32(0.1) if item.positive else array
        if not self.quantised or array.ndim < 2:
            return self.constant(array)
        codes = np.clip(np.rint(array * 30), -63, 63).astype(np.int8)
        names = [self.constant(codes), self.constant(np.array(1 / 30, np.float32)), self.constant(np.array(0, np.int8))]
        return self.node("DequantizeLinear", names)

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        return self.results(operator, inputs, 1, **attributes)[0]

    def results(self, operator: str, inputs: list[str], count: int, **attributes: Any) -> list[str]:
        domain, _, name = operator.rpartition("::")
        made = f"n{len(self.nodes)}"
        names = [made, *(f"{made}.{i}" for i in range(1, count))]
        self.nodes.append(helper.make_node(name, inputs, names, name=made, domain=domain, **attributes))
        return names

    def codes(self, x: str, scale: float, zero_point: int) -> str:
        pair = [self.constant(np.array(scale, np.float32)), self.constant(np.array(zero_point, np.uint8))]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, *pair]), *pair])


def model_of(example: Example, quantised: bool, seed: int) -> tuple[onnx.ModelProto, list[np.ndarray]]:
    """(a model of the example's node with sizes of this seed, an array for each of its inputs)."""
    made = _Model(example, quantised, seed)
    names = [made.given(item) for item in example.inputs]
    results = made.results(example.operator, names, example.outputs, **example.attributes)
    if quantised:
        results = [made.codes(y, 0.06, 110) for y in results]
    ends = [onnx.ValueInfoProto(name=y) for y in results]
    graph = helper.make_graph(made.nodes, "example", made.inputs, ends, initializer=made.constants)
    for end in graph.output:
        end.type.tensor_type.elem_type = TensorProto.FLOAT
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True), made.arrays


class Objects:
    """Object files by symbol: each kernel is compiled once."""

    def __init__(self, folder: Path, machine: Target) -> None:
        self.folder, self.machine, self.of = folder, machine, dict[str, Path]()

    def add(self, kernels: Mapping[str, KernelCall]) -> None:
        from hwnas.kernels.codegen import compile_object

        new = {symbol: call for symbol, call in kernels.items() if symbol not in self.of}
        if new:
            path = self.folder / f"group{len(self.of)}.o"
            functions = [call.build().with_attr("global_symbol", symbol) for symbol, call in new.items()]
            path.write_bytes(compile_object(functions, self.machine))
            self.of.update(dict.fromkeys(new, path))


def played_ends(
    program: Program, objects: Objects, symbols: list[str], samples: Iterable[tuple[np.ndarray, ...]]
) -> list[tuple[np.ndarray, ...]]:
    """All outputs of the program for all inputs of every sample."""
    files = list(dict.fromkeys(objects.of[symbol] for symbol in symbols))
    runner = load_program(program, files, link.toolchain(objects.machine).compiler, 0, 0)
    memory: Any = runner.kept[1]
    whole, found = replace(runner, last=len(program.calls)), list[tuple[np.ndarray, ...]]()
    for arrays in samples:
        for end, array in zip(program.inputs, arrays, strict=True):
            memory["input"][end.offset : end.offset + end.bytes].view(array.dtype)[:] = array.reshape(-1)
        whole.run_us(1)
        made = memory["output"][None, : program.output_bytes].copy()
        ends = zip(program.outputs, unpacked(program.outputs, made), strict=True)
        found.append(tuple(one.reshape(end.shape) for end, one in ends))
    return found


def run_ends(model: onnx.ModelProto, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """All outputs of the compiled model for one sample of every input."""
    from hwnas.kernels.target import parse_target

    machine = parse_target("host")
    program, kernels = plan_model(model, machine)
    with tempfile.TemporaryDirectory() as folder:
        objects = Objects(Path(folder), machine)
        objects.add(kernels)
        return played_ends(program, objects, list(kernels), [arrays])[0]
