"""Nodes between DequantizeLinear and QuantizeLinear, read as integer steps with ONNX Runtime's arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native import activations
from hwnas.export.native.ir import Value
from hwnas.export.native.reader import Quantised, Reader, Target, Tensor, attribute, clip_bounds, refuse, window

if TYPE_CHECKING:
    from onnx import NodeProto

UNARY = ("Relu", "HardSwish", "HardSigmoid", "Sigmoid", "Clip", "LeakyRelu", "Tanh")


def quantize_linear(reader: Reader, node: NodeProto) -> None:
    """Float activations to integers; integers to other integers by a table."""
    if reader.is_constant(node.input[0]):
        raise refuse(node, "a quantised constant must be stored as integers", ("DequantizeLinear of an initializer",))
    source, tensor = reader.value(node, 0), reader.tensor(node, 0)
    scale, zero_point, kind = reader.quantisation(node)
    if tensor.form == "dequantised":
        same = (source.scale, source.zero_point, source.kind) == (scale, zero_point, kind)
        if not same:
            value = Value(node.output[0], kind, *source.shape, scale=scale, zero_point=zero_point)
            _emit_table(reader, node, source, value, lambda x: x, "requantise")
            source = value
        reader.tensors[node.output[0]] = Tensor(source.name, "integer", tensor.flat)
        return
    value = Value(node.output[0], kind, *source.shape, scale=scale, zero_point=zero_point)
    reader.emit("quantize", node, (source.name,), value)
    reader.tensors[node.output[0]] = Tensor(value.name, "integer", tensor.flat)


def dequantize_linear(reader: Reader, node: NodeProto) -> None:
    """Constants keep their integers; activations stay integers until a step needs floats."""
    name = node.input[0]
    if name in reader.constants:
        scale = reader.constants[node.input[1]].astype(np.float32).reshape(-1)
        zeros = reader.constants[node.input[2]].reshape(-1) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        if np.any(zeros != zeros[0]):
            raise refuse(node, "zero points that differ between channels", ("zero point 0",))
        integers = reader.constants[name]
        axis = attribute(node, "axis", 1) % max(integers.ndim, 1)
        reader.quantised_constants[node.output[0]] = Quantised(integers, scale, int(zeros[0]), axis)
        return
    tensor = reader.tensor(node, 0)
    if tensor.form != "integer":
        raise refuse(node, "its input must be the output of QuantizeLinear", ("QuantizeLinear before it",))
    reader.tensors[node.output[0]] = Tensor(tensor.value, "dequantised", tensor.flat)


def _weights(reader: Reader, node: NodeProto, axis: int) -> Quantised:
    weight = reader.quantised_constants[node.input[1]]
    if weight.integers.dtype != np.int8 or weight.zero_point != 0 or (weight.scale.size > 1 and weight.axis != axis):
        found = f"{weight.integers.dtype} with zero point {weight.zero_point} along axis {weight.axis}"
        raise refuse(node, f"weights are {found}", (f"int8 with zero point 0, scales along axis {axis}",))
    return weight


def _linear_constants(
    reader: Reader, node: NodeProto, weight: Quantised, channels: int, target: Target
) -> dict[str, np.ndarray]:
    """weight, bias (int32) and the float32 multiplier s_x * s_w / s_y, rounded in that order as ONNX Runtime does."""
    source = reader.value(node, 0)
    x_scale, y_scale = np.float32(source.scale), np.float32(target.value.scale)
    w_scale = np.broadcast_to(weight.scale.astype(np.float32), (channels,))
    multiplier = ((x_scale * w_scale).astype(np.float32) / y_scale).astype(np.float32)
    bias = np.zeros(channels, np.int32)
    if len(node.input) > 2 and node.input[2]:
        stored = reader.quantised_constants.get(node.input[2])
        if stored is None:
            bias = np.rint(reader.constant(node, 2) / (x_scale * w_scale)).astype(np.int64).astype(np.int32)
        else:
            bias = stored.integers.astype(np.int32)
    return {"weight": weight.integers, "bias": bias.reshape(channels), "scale": multiplier}


def conv(reader: Reader, node: NodeProto) -> bool:
    """DQ -> Conv -> Q as QLinearConv; False where the result or the weights are float."""
    if node.input[1] not in reader.quantised_constants:
        return False
    weight = _weights(reader, node, 0)
    source = reader.value(node, 0)
    out, kh, kw = conv_shape(node, weight.integers, source)
    attributes, height, width = window(node, (kh, kw), source)
    target = reader.target(node, height, width, out)
    if target is None:
        return False
    attributes["groups"] = int(attribute(node, "group", 1))
    constants = _linear_constants(reader, node, weight, out, target)
    reader.emit_quantised("conv_int", node, (source.name,), target, attributes, constants)
    return True


def conv_shape(node: NodeProto, weight: np.ndarray, source: Value) -> tuple[int, int, int]:
    """(output channels, kernel height, kernel width) of a convolution's weight, checked against its input."""
    groups = int(attribute(node, "group", 1))
    fits = weight.ndim == 4 and weight.shape[1] * groups == source.channels and weight.shape[0] % groups == 0
    if not fits:
        raise refuse(
            node,
            f"a weight {list(weight.shape)} in {groups} groups over {source.channels} channels",
            ("[O, C / groups, KH, KW]",),
        )
    return weight.shape[0], weight.shape[2], weight.shape[3]


def gemm(reader: Reader, node: NodeProto) -> bool:
    """DQ -> Gemm -> Q as QGemm; a flattened image becomes a convolution whose kernel is the image."""
    transposed = bool(attribute(node, "transB", 0)) and node.op_type == "Gemm"
    weight = _weights(reader, node, 0 if transposed else 1)
    integers = weight.integers if transposed else weight.integers.T
    source = reader.value(node, 0)
    target = reader.target(node, 1, 1, integers.shape[0])
    if target is None:
        return False
    if (attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0), attribute(node, "transA", 0)) != (1.0, 1.0, 0):
        raise refuse(node, "alpha, beta or transA", ("alpha=1 beta=1 transA=0",))
    constants = _linear_constants(reader, node, weight, integers.shape[0], target)
    reader.emit_quantised("conv_int", node, (source.name,), target, *dense_as_conv(node, integers, source, constants))
    return True


def dense_as_conv(
    node: NodeProto, matrix: np.ndarray, source: Value, constants: dict[str, np.ndarray]
) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """A matrix [O, C*H*W] over a flattened image as a convolution whose kernel is the whole image."""
    if matrix.ndim != 2 or matrix.shape[1] != source.pixels * source.channels:
        raise refuse(node, f"a matrix {list(matrix.shape)} over {source.shape}", ("[O, C * H * W] after Flatten",))
    kernel = (source.height, source.width)
    weight = np.ascontiguousarray(matrix).reshape(matrix.shape[0], source.channels, *kernel)
    attributes: dict[str, object] = {
        "kernel": kernel,
        "strides": (1, 1),
        "pads": (0, 0, 0, 0),
        "dilations": (1, 1),
        "groups": 1,
    }
    return attributes, {**constants, "weight": weight}


def binary(reader: Reader, node: NodeProto) -> bool:
    """DQ, DQ -> Add or Mul -> Q; Mul may scale channels by a vector (squeeze-excite)."""
    if not (reader.is_quantised(node, 0) and reader.is_quantised(node, 1)):
        return False
    first, second = reader.value(node, 0), reader.value(node, 1)
    target = reader.target(node, max(first.height, second.height), max(first.width, second.width), first.channels)
    if target is None:
        return False
    if first.shape != second.shape:
        if node.op_type != "Mul" or first.channels != second.channels or min(first.pixels, second.pixels) != 1:
            raise refuse(node, f"shapes {first.shape} and {second.shape}", ("equal shapes", "Mul by [1, C, 1, 1]"))
        if first.pixels == 1:
            first, second = second, first
    _only_uint8(node, first, second, target.value)
    kind = "add_int" if node.op_type == "Add" else "mul_int"
    reader.emit_quantised(kind, node, (first.name, second.name), target)
    return True


def pool(reader: Reader, node: NodeProto) -> bool:
    """Average, global average and max pools over integers."""
    source = reader.value(node, 0)
    if node.op_type == "GlobalAveragePool":
        target = reader.target(node, 1, 1, source.channels)
        if target is not None:
            reader.emit_quantised("global_average_int", node, (source.name,), target)
        return target is not None
    attributes, height, width = window(node, attribute(node, "kernel_shape", ()), source)
    target = reader.target(node, height, width, source.channels)
    if target is None:
        return False
    kind = "average_pool_int" if node.op_type == "AveragePool" else "max_pool_int"
    if kind == "average_pool_int":
        _only_uint8(node, source, target.value)
    if kind == "max_pool_int":
        _same_quantisation(reader, node, source, target)
    attributes["count_include_pad"] = int(attribute(node, "count_include_pad", 0))
    reader.emit_quantised(kind, node, (source.name,), target, attributes)
    return True


def _only_uint8(node: NodeProto, *values: Value) -> None:
    """Refuses int8: ONNX Runtime computes this operator in float there, with other roundings."""
    if any(value.kind != "u8" for value in values):
        raise refuse(node, "int8 activations", ("uint8 activations",))


def _same_quantisation(reader: Reader, node: NodeProto, source: Value, target: Target) -> None:
    value = target.value
    if (source.scale, source.zero_point, source.kind) != (value.scale, value.zero_point, value.kind):
        raise refuse(node, "the scales before and after must be equal", (f"one scale around {node.op_type}",))


def concat(reader: Reader, node: NodeProto) -> bool:
    """Concat along channels; inputs of another scale go through a table first, as QLinearConcat does."""
    if not all(reader.is_quantised(node, index) for index in range(len(node.input))):
        return False
    if attribute(node, "axis", 1) not in (1, -3):
        raise refuse(node, "an axis other than channels", ("axis=1",))
    sources = [reader.value(node, index) for index in range(len(node.input))]
    target = reader.target(node, sources[0].height, sources[0].width, sum(s.channels for s in sources))
    if target is None:
        return False
    value, names = target.value, list[str]()
    for index, source in enumerate(sources):
        if (source.scale, source.zero_point, source.kind) != (value.scale, value.zero_point, value.kind):
            moved = Value(
                f"{value.name}:part{index}", value.kind, *source.shape, scale=value.scale, zero_point=value.zero_point
            )
            _emit_table(reader, node, source, moved, lambda x: x, "requantise")
            source = moved
        names.append(source.name)
    reader.emit_quantised("concat_int", node, tuple(names), target)
    return True


def softmax(reader: Reader, node: NodeProto) -> bool:
    """DQ -> Softmax -> Q over the channels of a vector."""
    source = reader.value(node, 0)
    target = reader.target(node, *source.shape)
    if target is None or source.pixels != 1:
        return False
    reader.emit_quantised("softmax_int", node, (source.name,), target)
    return True


def unary_function(reader: Reader, node: NodeProto) -> Callable[[activations.Float], activations.Float]:
    """The float32 function of a unary node with its attributes."""
    if node.op_type == "Clip":
        low, high = clip_bounds(reader, node)
        return partial(activations.clip, low=low, high=high)
    if node.op_type == "HardSigmoid":
        alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
        return partial(activations.hard_sigmoid, alpha=alpha, beta=beta)
    if node.op_type == "LeakyRelu":
        return partial(activations.leaky_relu, alpha=attribute(node, "alpha", 0.01))
    simple = {
        "Relu": activations.relu,
        "HardSwish": activations.hard_swish,
        "Sigmoid": activations.sigmoid,
        "Tanh": activations.tanh,
    }
    return simple[node.op_type]


def unary(reader: Reader, node: NodeProto) -> bool:
    """DQ -> f -> Q as one 256-byte table."""
    source = reader.value(node, 0)
    target = reader.target(node, *source.shape)
    if target is None:
        return False
    function, low, high = unary_function(reader, node), target.low, target.high
    reader.accept(target)
    _emit_table(reader, node, source, target.value, function, node.op_type.lower(), (low, high))
    return True


def _emit_table(
    reader: Reader,
    node: NodeProto,
    source: Value,
    value: Value,
    function: Callable[[activations.Float], activations.Float],
    name: str,
    bounds: tuple[int, int] | None = None,
) -> None:
    scales, zeros = (source.scale, value.scale), (source.zero_point, value.zero_point)
    table = activations.table(function, (source.kind, value.kind), scales, zeros)
    if bounds is not None:
        signed = table.view(np.int8) if value.kind == "i8" else table
        table = np.clip(signed.astype(np.int64), *bounds).astype(np.uint8)
    reader.emit("lut", node, (source.name,), value, {"function": name}, {"table": table})
