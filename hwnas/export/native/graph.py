"""Reads an ONNX model in the project's contract (fp32, QDQ int8, 1-bit functions, mixed) into native steps.

The model is brought into a normal form first. Every operator has one reader; a node between DequantizeLinear and
QuantizeLinear becomes an integer step, all others float steps. An operator without a reader is an error that names the
node and what comes nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError, nearest_names
from hwnas.export.native import read_float, read_pixels, read_quantised
from hwnas.export.native.ir import Graph, Value
from hwnas.export.native.layout import HALO_READERS
from hwnas.export.native.model_file import array_of, load_model
from hwnas.export.native.normal import NormalModel, normal_form
from hwnas.export.native.reader import Reader, Tensor, label, refuse

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["constant_bytes", "load_model", "read_graph"]

#: operator -> (integer reader or None, float reader)
READERS: dict[str, tuple[Callable[[Reader, NodeProto], bool] | None, Callable[[Reader, NodeProto], None]]] = {
    "QuantizeLinear": (None, read_quantised.quantize_linear),
    "DequantizeLinear": (None, read_quantised.dequantize_linear),
    "Conv": (read_quantised.conv, read_float.conv),
    "Gemm": (read_quantised.gemm, read_float.gemm),
    "MatMul": (read_quantised.gemm, read_float.gemm),
    "Add": (read_quantised.binary, read_float.binary),
    "Mul": (read_quantised.binary, read_float.binary),
    "GlobalAveragePool": (read_quantised.pool, read_float.pool),
    "AveragePool": (read_quantised.pool, read_float.pool),
    "MaxPool": (read_quantised.pool, read_float.pool),
    "Concat": (read_quantised.concat, read_float.concat),
    "Softmax": (read_quantised.softmax, read_float.softmax),
    "PRelu": (None, read_float.activation),
    **dict.fromkeys(read_quantised.UNARY, (read_quantised.unary, read_float.activation)),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Identity", "Dropout"), (None, read_float.shape_only)),
    "Shape": (None, read_float.shape),
    "BinaryConv": (None, read_float.binary_conv),
    **dict.fromkeys(read_pixels.CONSTANTS, (None, read_pixels.preprocess)),
}


def read_graph(model: ModelProto) -> Graph:
    """The model's steps, one ONNX operator each (fusing comes after).

    HwnasError for everything that is not a valid model of supported operators; it names the node.
    """
    known = {*((_domain(name), name) for name in READERS), ("", "Constant")}
    try:
        normal = normal_form(model, known, _unsupported)
        reader = _start(normal)
    except UNFORESEEN as error:  # names that are no text, for one
        raise HwnasError(f"the model cannot be read: {_line(error)}", hint="check it with onnx.checker") from error
    for node in normal.nodes:
        if node.output[0] not in reader.absorbed:
            try:
                _read_node(reader, node)
            except UNFORESEEN as error:
                raise refuse(node, f"it cannot be read: {_line(error)}") from error
    return _finish(reader, normal)


#: What no check foresaw still is one line, where possible with the node's name: it ends the reading, so that no wrong
#: result comes of it. Checks come first; these are what Python, numpy and protobuf raise for data they cannot take.
UNFORESEEN = (ValueError, TypeError, KeyError, IndexError, OverflowError, ArithmeticError, AssertionError)


def _line(error: Exception) -> str:
    return f"{type(error).__name__} {' '.join(str(error).split())[:200]}"


def _domain(operator: str) -> str:
    return "hwnas" if operator in ("BinaryConv", *read_pixels.CONSTANTS) else ""


def _start(normal: NormalModel) -> Reader:
    consumers: dict[str, list[NodeProto]] = {}
    for node in normal.nodes:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    # Constant nodes first: what ends a quantised step is looked up before the nodes in between are read
    nodes = {node.output[0]: _constant(node) for node in normal.nodes if node.op_type == "Constant"}
    reader = Reader({**normal.constants, **nodes}, consumers, normal.output, normal.shapes)
    shape = normal.input_shape
    if normal.reads_pixels:
        read_pixels.start(reader, normal.input, shape)
        return reader
    channels, height, width = shape[1], *(shape[2:] if len(shape) == 4 else (1, 1))
    reader.add_value(Value(normal.input, "f32", height, width, channels, layout="nchw"))
    reader.tensors[normal.input] = Tensor(normal.input, "real", shape)
    return reader


def _unsupported(node: NodeProto) -> HwnasError:
    from onnx import defs

    # names that look alike mean something only where the name is a typing error: Resize is no Reshape
    near = () if defs.has(node.op_type) else nearest_names(node.op_type, READERS)
    domain = node.domain and f"{node.domain}::"
    return HwnasError(
        f"node {label(node)!r}: no kernel covers operator {domain}{node.op_type}",
        nearest=_close_in_meaning(node.op_type) or near,
        hint="supported: " + ", ".join(sorted(READERS)) + "; or run this model in ONNX Runtime",
    )


def _read_node(reader: Reader, node: NodeProto) -> None:
    if any(name in reader.consumers or name == reader.output_name for name in node.output[1:] if name):
        raise refuse(node, "more than its first output is used", ("the first output alone",))
    if node.op_type == "Constant":
        return
    if node.op_type == "Identity" and reader.is_constant(node.input[0]):
        for known in (reader.constants, reader.quantised_constants):
            if node.input[0] in known:
                known[node.output[0]] = known[node.input[0]]  # type: ignore[index, assignment]
        return
    integer, real = READERS[node.op_type]
    if integer is not None and reader.is_quantised(node, 0) and integer(reader, node):
        return
    real(reader, node)


def _constant(node: NodeProto) -> np.ndarray:
    """What a Constant node holds."""
    item = node.attribute[0]
    if item.name == "value":
        return array_of(item.t)
    if item.name in ("value_float", "value_floats"):
        return np.array(item.f if item.name == "value_float" else list(item.floats), np.float32)
    if item.name in ("value_int", "value_ints"):
        return np.array(item.i if item.name == "value_int" else list(item.ints), np.int64)
    raise refuse(node, f"a {item.name}", ("value",))


def _close_in_meaning(op_type: str) -> tuple[str, ...]:
    """What is supported and does the same or nearly the same; empty where nothing does."""
    meaning = {
        "BatchNormalization": ("Conv with the normalisation folded into its weights",),
        "ReduceMean": ("GlobalAveragePool",),
        "Sub": ("Add of the negated constant",),
        "Div": ("Mul by the reciprocal constant",),
        "Gelu": ("HardSwish",),
        "Elu": ("LeakyRelu",),
        "Celu": ("LeakyRelu",),
        "Selu": ("Relu", "LeakyRelu"),
        "ThresholdedRelu": ("Relu",),
        "Mish": ("HardSwish",),
        "Swish": ("HardSwish",),
        "Min": ("Clip",),
        "Max": ("Relu", "Clip"),
        "Sum": ("Add",),
        "GlobalMaxPool": ("MaxPool of the whole image",),
        "LpPool": ("AveragePool",),
        "Unsqueeze": ("Reshape",),
        "LogSoftmax": ("Softmax",),
        "Pad": ("Conv with pads",),
        "QLinearConv": ("DequantizeLinear, Conv, QuantizeLinear",),
        "QLinearMatMul": ("DequantizeLinear, MatMul, QuantizeLinear",),
        "ConvInteger": ("DequantizeLinear, Conv, QuantizeLinear",),
        "DynamicQuantizeLinear": ("QuantizeLinear with a constant scale",),
    }
    return meaning.get(op_type, ())


def _finish(reader: Reader, normal: NormalModel) -> Graph:
    tensor = reader.tensors.get(normal.output)
    if tensor is None:
        raise HwnasError(f"output {normal.output!r} is a constant", hint="the model must compute it from its input")
    value = reader.values[tensor.value]
    if tensor.form == "integer":
        raise HwnasError(f"output {normal.output!r} holds integers", hint="end the model with DequantizeLinear")
    if value.name == normal.input:
        raise HwnasError("the model computes nothing", hint="its output is its input")
    # the caller's memory has neither halo nor the order of an image inside the model
    read_with_halo = any(step.kind in HALO_READERS and value.name in step.inputs for step in reader.steps)
    if tensor.form == "dequantised" or value.pixels > 1 or read_with_halo:
        kind = "dequantize" if tensor.form == "dequantised" else "to_nchw"
        layout = "nchw" if value.pixels > 1 else "nhwc"
        final = Value(f"{normal.output}:final", "f32", *value.shape, layout=layout)
        node = next(n for n in normal.nodes if normal.output in n.output)
        reader.emit(kind, node, (value.name,), final)
        value = final
    return Graph(dict(reader.values), tuple(reader.steps), normal.input, value.name, tensor.shape, normal.input_shape)


def constant_bytes(graph: Graph) -> int:
    """Bytes of all constants as the model stores them."""
    return sum(int(np.asarray(c).nbytes) for step in graph.steps for c in step.constants.values())
