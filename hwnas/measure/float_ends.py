"""A block's ONNX model with float32 at both ends, as the native compiler takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.errors import HwnasError
from hwnas.measure.neighbour import MOST_IMAGE_CHANNELS
from hwnas.network import Operator
from hwnas.ops import reads_pixels

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto


def with_float_ends(model: ModelProto, operator: Operator) -> ModelProto:
    """`model` with QuantizeLinear put before a uint8 input and DequantizeLinear after a uint8 output.

    The scales are those of the DequantizeLinear that reads the input and of the QuantizeLinear that writes the output;
    a block alone (`convert`) has just one of the two, and its scale serves both.
    """
    from onnx import ModelProto as Proto
    from onnx import TensorProto, helper

    edited = Proto()
    edited.CopyFrom(model)
    graph = edited.graph
    given, result = graph.input[0], graph.output[0]
    # raw pixels are a network's own input, not codes that a neighbour gives
    if given.type.tensor_type.elem_type == TensorProto.UINT8 and not reads_pixels(operator):
        reader = next((n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] == given.name), None)
        scale = _scale(reader, graph, operator)
        name = given.name
        for node in graph.node:
            node.input[:] = ["codes_in" if text == name else text for text in node.input]
        graph.node.insert(0, helper.make_node("QuantizeLinear", [name, *scale], ["codes_in"]))
        given.type.tensor_type.elem_type = TensorProto.FLOAT
    if result.type.tensor_type.elem_type == TensorProto.UINT8:
        writer = next((n for n in graph.node if n.op_type == "QuantizeLinear" and n.output[0] == result.name), None)
        scale = _scale(writer, graph, operator)
        name = result.name
        for node in graph.node:
            node.input[:] = ["codes_out" if text == name else text for text in node.input]
            node.output[:] = ["codes_out" if text == name else text for text in node.output]
        graph.node.append(helper.make_node("DequantizeLinear", ["codes_out", *scale], [name]))
        result.type.tensor_type.elem_type = TensorProto.FLOAT
    if operator.kind == "convert" and _inside_a_network(operator):
        _give_float_neighbour(graph, operator)
    return edited


def _inside_a_network(operator: Operator) -> bool:
    """False for an image of at most 4 channels (it enters the network as NCHW) and for logits (no layout at all)."""
    return len(operator.input_shape) == 3 and operator.input_shape[0] > MOST_IMAGE_CHANNELS


def _give_float_neighbour(graph: GraphProto, operator: Operator) -> None:
    """Put a Relu on the float side, so that the conversion reads or writes its neighbour's layout as in a network."""
    from onnx import helper

    given, result = graph.input[0].name, graph.output[0].name
    if operator.layers[0].kind == "quantize":
        for node in graph.node:
            node.input[:] = ["neighbour" if text == given else text for text in node.input]
        graph.node.insert(0, helper.make_node("Relu", [given], ["neighbour"]))
        return
    for node in graph.node:
        node.output[:] = ["neighbour" if text == result else text for text in node.output]
        node.input[:] = ["neighbour" if text == result else text for text in node.input]
    graph.node.append(helper.make_node("Relu", ["neighbour"], [result]))


def _scale(node: NodeProto | None, graph: GraphProto, operator: Operator) -> list[str]:
    """The names of scale and zero point that `node` uses, else those of the graph's only quantising node."""
    source = node or next((n for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")), None)
    if source is None:
        raise HwnasError(f"the ONNX model of {operator} quantises nowhere although its ends are uint8")
    return list(source.input[1:3])
