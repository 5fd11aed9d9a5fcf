"""ONNX models of one node, made of what a native operator's file declares as its examples."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hwnas.export.native.operator import Constant, Example, Given, Whole

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

    def node(self, operator: str, inputs: list[str], **attributes: object) -> str:
        domain, _, name = operator.rpartition("::")
        made = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(name, inputs, [made], name=made, domain=domain, **attributes))
        return made

    def codes(self, x: str, scale: float, zero_point: int) -> str:
        pair = [self.constant(np.array(scale, np.float32)), self.constant(np.array(zero_point, np.uint8))]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, *pair]), *pair])


def model_of(example: Example, quantised: bool, seed: int) -> tuple[onnx.ModelProto, list[np.ndarray]]:
    """(a model of the example's node with sizes of this seed, an array for each of its inputs)."""
    made = _Model(example, quantised, seed)
    names = [made.given(item) for item in example.inputs]
    y = made.node(example.operator, names, **example.attributes)
    if quantised:
        y = made.codes(y, 0.06, 110)
    graph = helper.make_graph(
        made.nodes, "example", made.inputs, [onnx.ValueInfoProto(name=y)], initializer=made.constants
    )
    graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True), made.arrays
