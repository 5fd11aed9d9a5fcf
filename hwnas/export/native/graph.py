"""Reads an ONNX model in the project's contract (fp32, QDQ int8, 1-bit functions, mixed) into native steps.

Every operator has one reader; a node between DequantizeLinear and QuantizeLinear becomes an integer step, all
others float steps. An operator without a reader is an error that names the node and what comes nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError, nearest_names
from hwnas.export.native import read_float, read_pixels, read_quantised
from hwnas.export.native.ir import Graph, Value
from hwnas.export.native.reader import Reader, Tensor, label

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

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
    "BinaryConv": (None, read_float.binary_conv),
    **dict.fromkeys(read_pixels.CONSTANTS, (None, read_pixels.preprocess)),
}


def load_model(model: ModelProto | str | Path) -> ModelProto:
    """The model itself, or the file it lies in."""
    import onnx

    if not isinstance(model, (str, Path)):
        return model
    path = Path(model)
    if not path.is_file():
        raise HwnasError(f"{path} is not a file", hint="give an ONNX file or a ModelProto")
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf raises its own, version-dependent classes
        raise HwnasError(f"{path} is not an ONNX model: {error}", hint="write it with onnx.save") from error


def read_graph(model: ModelProto) -> Graph:
    """The model's steps, one ONNX operator each (fusing comes after)."""
    reader = _start(model)
    for node in model.graph.node:
        if node.output[0] not in reader.absorbed:
            _read_node(reader, node)
    return _finish(reader, model)


def _start(model: ModelProto) -> Reader:
    from onnx import numpy_helper

    graph = model.graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    consumers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    inputs = [item for item in graph.input if item.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise HwnasError(f"the model has {len(inputs)} inputs and {len(graph.output)} outputs", hint="one of each")
    shape = _input_shape(inputs[0])
    reader = Reader(constants, consumers, graph.output[0].name)
    if _is_uint8(inputs[0]):
        pixels = read_pixels.pixel_input(inputs[0].name, shape, consumers.get(inputs[0].name, []))
        reader.add_value(pixels)
        reader.tensors[pixels.name] = Tensor(pixels.name, "pixels")
        return reader
    channels, height, width = shape[1], *(shape[2:] if len(shape) == 4 else (1, 1))
    reader.add_value(Value(inputs[0].name, "f32", height, width, channels, layout="nchw"))
    reader.tensors[inputs[0].name] = Tensor(inputs[0].name, "real")
    return reader


def _is_uint8(item: object) -> bool:
    from onnx import TensorProto, ValueInfoProto

    assert isinstance(item, ValueInfoProto)
    return bool(item.type.tensor_type.elem_type == TensorProto.UINT8)


def _input_shape(item: object) -> tuple[int, ...]:
    from onnx import TensorProto, ValueInfoProto

    assert isinstance(item, ValueInfoProto)
    tensor = item.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    good = tensor.elem_type in (TensorProto.FLOAT, TensorProto.UINT8) and len(shape) in (2, 4)
    if not good or min(shape) < 1 or shape[0] != 1:
        raise HwnasError(
            f"input {item.name!r} has shape {list(shape)}",
            nearest=("float32 [1, C, H, W]", "uint8 [1, H, W, C]"),
            hint="fix the batch to 1 and all sizes to numbers",
        )
    return shape


def _read_node(reader: Reader, node: NodeProto) -> None:
    from onnx import numpy_helper

    if node.op_type == "Constant" and node.attribute[0].name == "value":
        reader.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        return
    domain = "hwnas" if node.op_type in ("BinaryConv", *read_pixels.CONSTANTS) else ""
    if node.op_type not in READERS or (node.domain or "").replace("ai.onnx", "") != domain:
        near = nearest_names(node.op_type, READERS) or _close_in_meaning(node.op_type)
        raise HwnasError(
            f"node {label(node)!r}: no kernel covers operator {node.op_type}",
            nearest=near,
            hint="supported: " + ", ".join(sorted(READERS)) + "; or run this model in ONNX Runtime",
        )
    if node.op_type == "Identity" and node.input[0] in reader.constants:
        reader.constants[node.output[0]] = reader.constants[node.input[0]]
        return
    integer, real = READERS[node.op_type]
    if integer is not None and reader.is_quantised(node, 0) and integer(reader, node):
        return
    real(reader, node)


def _close_in_meaning(op_type: str) -> tuple[str, ...]:
    """The supported form of operators whose names do not resemble it."""
    meaning = {
        "BatchNormalization": ("Conv with the normalisation folded into its weights",),
        "ConvTranspose": ("Conv",),
        "ReduceMean": ("GlobalAveragePool",),
        "Sub": ("Add",),
        "Div": ("Mul",),
        "Gelu": ("HardSwish",),
        "Elu": ("LeakyRelu",),
        "Swish": ("HardSwish",),
        "LayerNormalization": ("Conv",),
        "Transpose": ("Flatten",),
        "Pad": ("Conv with pads",),
        "Resize": ("AveragePool",),
    }
    return meaning.get(op_type, ("Conv",))


def _finish(reader: Reader, model: ModelProto) -> Graph:
    item = model.graph.output[0]
    tensor = reader.tensors.get(item.name)
    if tensor is None:
        raise HwnasError(f"output {item.name!r} is made by no node")
    value = reader.values[tensor.value]
    node = next(n for n in model.graph.node if item.name in n.output)
    if tensor.form == "integer":
        raise HwnasError(f"output {item.name!r} holds integers", hint="end the model with DequantizeLinear")
    if tensor.form == "dequantised" or (value.pixels > 1 and value.layout == "nhwc"):
        kind = "dequantize" if tensor.form == "dequantised" else "to_nchw"
        layout = "nchw" if value.pixels > 1 else "nhwc"
        final = Value(f"{item.name}:final", "f32", *value.shape, layout=layout)
        reader.emit(kind, node, (value.name,), final)
        value = final
    start = next(i for i in model.graph.input if i.name not in reader.constants)
    dims = item.type.tensor_type.shape.dim
    flat = tensor.flat or len(dims) == 2 or (value.pixels == 1 and len(dims) == 0)
    shape = (1, value.pixels * value.channels) if flat else (1, value.channels, value.height, value.width)
    if not reader.steps:
        raise HwnasError("the model computes nothing", hint="its output is its input")
    return Graph(dict(reader.values), tuple(reader.steps), start.name, value.name, shape, _input_shape(start))


def constant_bytes(graph: Graph) -> int:
    """Bytes of all constants as the model stores them."""
    return sum(int(np.asarray(c).nbytes) for step in graph.steps for c in step.constants.values())
