"""Graph: an ONNX model being written: constants once, nodes in order, QuantizeLinear pairs where codes meet reals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hwnas import __version__
from hwnas.export.onnx_binary import DOMAIN, binary_conv_function
from hwnas.export.onnx_preprocess import normalize_function, preprocess_function
from hwnas.network import Layer, Port
from hwnas.ops.numeric.scales import Codes, Scale

OPSET = 21
#: model-local functions, which a model that calls them carries
FUNCTIONS = {"BinaryConv": binary_conv_function, "Normalize": normalize_function, "Preprocess": preprocess_function}
IR_VERSION = 10  # the one that came with opset 21: older runtimes refuse a newer number for no reason


@dataclass(frozen=True)
class End:
    """An input or output of a model: what its tensor is called so far, and the name, type and port it ships with."""

    made: str
    name: str
    dtype: str
    port: Port

    def info(self, axis: int | str) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        return helper.make_tensor_value_info(self.name, kind, [axis, *self.port.shape])


class Graph:
    """Nodes and initializers, in the order they are added; every node is named after its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        """An initializer; the same name always holds the same value, so asking twice stores once."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value.copy(order="C"), name)
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; gives the output's name."""
        made = helper.make_node(kind, list(inputs), [output], name=output, domain=domain)
        # Sorted, so that equal networks give equal bytes.
        made.attribute.extend(helper.make_attribute(key, attributes[key]) for key in sorted(attributes))
        self.nodes.append(made)
        return output

    def relu(self, layer: Layer, x: str, name: str, codes: Codes) -> str:
        """Relu where the layer has one, unless the codes saturate at zero already (zero point 0)."""
        saturates = codes.output is not None and codes.output.zero_point == 0
        return x if layer.activation != "relu" or saturates else self.node("Relu", [x], f"{name}.relu")

    def quantise(self, x: str, scale: Scale, name: str) -> str:
        """QuantizeLinear into `name`."""
        return self.node("QuantizeLinear", [x, *self._code(name, scale)], name)

    def dequantise(self, x: str, scale: Scale, name: str) -> str:
        """DequantizeLinear of `x` into `name`; every reader of a tensor has its own, as fusion wants it."""
        return self.node("DequantizeLinear", [x, *self._code(x, scale)], name)

    def weight_and_bias(self, name: str, tensors: Mapping[str, np.ndarray], codes: Codes) -> tuple[str, str]:
        """The layer's weight and bias as float tensors: initializers, float16 through Cast, or integers
        through DequantizeLinear (axis 0)."""
        weight = self.constant(f"{name}.weight", tensors["weight"])
        bias = self.constant(f"{name}.bias", tensors["bias"])
        if tensors["weight"].dtype == np.float16:
            return self.node("Cast", [weight], f"{name}.weight.real", to=onnx.TensorProto.FLOAT), bias
        if "weight_scale" not in tensors:
            return weight, bias
        scales = tensors["weight_scale"]
        unit = (codes.source.value * scales).astype(np.float32)
        return (
            self._dequantise_constant(weight, scales, np.int8),
            self._dequantise_constant(bias, unit, np.int32),
        )

    def _dequantise_constant(self, name: str, scales: np.ndarray, kind: type) -> str:
        operands = [
            name,
            self.constant(f"{name}.scale", scales),
            self.constant(f"{name}.zero_point", np.zeros(scales.shape, kind)),
        ]
        return self.node("DequantizeLinear", operands, f"{name}.real", axis=0)

    def _code(self, name: str, scale: Scale) -> tuple[str, str]:
        return (
            self.constant(f"{name}.scale", np.asarray(scale.value)),
            self.constant(f"{name}.zero_point", np.asarray(scale.zero_point, dtype=np.uint8)),
        )

    def model(self, inputs: Sequence[End], outputs: Sequence[End], batch: int | None) -> onnx.ModelProto:
        """The finished model; `batch` is the fixed batch size, None leaves that axis open."""
        renamed = {end.made: end.name for end in (*inputs, *outputs)}
        for node in self.nodes:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
        axis: int | str = "batch" if batch is None else batch
        given, gives = ([end.info(axis) for end in ends] for ends in (inputs, outputs))
        graph = helper.make_graph(self.nodes, "network", given, gives, list(self.initializers.values()))
        called = sorted({node.op_type for node in self.nodes if node.domain == DOMAIN})
        functions = [FUNCTIONS[name]() for name in called]
        opsets = [helper.make_opsetid("", OPSET)] + ([helper.make_opsetid(DOMAIN, 1)] if functions else [])
        return helper.make_model(
            graph,
            opset_imports=opsets,
            functions=functions,
            ir_version=IR_VERSION,
            producer_name="hwnas",
            producer_version=__version__,
        )
