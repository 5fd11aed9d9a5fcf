"""Nodes between DequantizeLinear and QuantizeLinear, read as integer steps with ONNX Runtime's arithmetic.

Each reader answers False for a form that no integer kernel computes: the float reader then takes the node, between a
dequantisation and a quantisation, as the model says it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native import activations
from hwnas.export.native.ir import Value
from hwnas.export.native.quantisation import (
    Target,
    accept,
    emit_quantised,
    quantisation,
    quantised_constant,
    target_of,
)
from hwnas.export.native.reader import Quantised, Reader, Tensor, attribute, clip_bounds, refuse
from hwnas.export.native.windows import groups_of, window

if TYPE_CHECKING:
    from onnx import NodeProto

UNARY = ("Relu", "HardSwish", "HardSigmoid", "Sigmoid", "Clip", "LeakyRelu", "Tanh")


def quantize_linear(reader: Reader, node: NodeProto) -> None:
    """Float activations to integers; integers to other integers by a table."""
    if reader.is_constant(node.input[0]):
        raise refuse(node, "a quantised constant must be stored as integers", ("DequantizeLinear of an initializer",))
    source, tensor = reader.value(node, 0), reader.tensor(node, 0)
    if tensor.form == "integer":
        raise refuse(node, "its input holds integers, it must hold floats", ("DequantizeLinear before it",))
    scale, zero_point, kind = quantisation(reader, node)
    name, made = node.output[0], source.name
    if tensor.form == "real" or (source.scale, source.zero_point, source.kind) != (scale, zero_point, kind):
        value = Value(name, kind, *source.shape, scale=scale, zero_point=zero_point)
        if tensor.form == "real":
            reader.emit("quantize", node, (source.name,), value)
        else:
            _emit_table(reader, node, source, value, _same, "requantise")
        made = value.name
    reader.define(node, name, Tensor(made, "integer", tensor.shape))


def dequantize_linear(reader: Reader, node: NodeProto) -> None:
    """Constants keep their integers; activations stay integers until a step needs floats."""
    if node.input[0] in reader.constants:
        reader.quantised_constants[node.output[0]] = quantised_constant(reader, node)
        return
    tensor, value = reader.tensor(node, 0), reader.value(node, 0)
    if tensor.form != "integer":
        raise refuse(node, "its input must be the output of QuantizeLinear", ("QuantizeLinear before it",))
    scale, zero_point, kind = quantisation(reader, node, value.kind)
    if (scale, zero_point) != (value.scale, value.zero_point):
        # the same codes mean other numbers from here on
        seen = Value(f"{node.output[0]}:codes", kind, *value.shape, scale=scale, zero_point=zero_point)
        reader.emit("lut", node, (value.name,), seen, {"function": "copy"}, {"table": np.arange(256, dtype=np.uint8)})
        value = seen
    reader.define(node, node.output[0], Tensor(value.name, "dequantised", tensor.shape))


def _integer_weights(reader: Reader, node: NodeProto, axis: int) -> Quantised | None:
    """The weights where an integer kernel takes them: int8, zero point 0, scales of the whole or along `axis`."""
    weight = reader.quantised_constants.get(node.input[1])
    if weight is None or weight.integers.dtype != np.int8 or weight.zero_point:
        return None
    return weight if weight.scale.size == 1 or weight.axis == axis else None


def _linear_constants(
    reader: Reader,
    node: NodeProto,
    weight: Quantised,
    integers: np.ndarray,
    target: Target,
    bias_shape: tuple[int, ...],
) -> dict[str, np.ndarray] | None:
    """weight, bias (int32) and the float32 multiplier s_x * s_w / s_y, rounded in that order as ONNX Runtime does.

    A bias with a scale of its own is rounded to multiples of s_x * s_w. None where that would not keep it within half
    a code of the output, or within int32.
    """
    channels = len(integers)
    x_scale, y_scale = np.float32(reader.value(node, 0).scale), np.float32(target.value.scale)
    with np.errstate(all="ignore"):  # scales whose product leaves float32 are found right below
        unit = x_scale * np.broadcast_to(weight.scale, (channels,))
        multiplier = (unit / y_scale).astype(np.float32)
    tiny = np.finfo(np.float32).tiny
    if unit.min() < tiny or not np.all(np.isfinite(multiplier) & (multiplier >= tiny)):
        return None
    bias = np.zeros(channels)
    if len(node.input) > 2 and node.input[2]:
        stored = reader.quantised_constants.get(node.input[2])
        if stored is None:
            # the float32 division is ONNX Runtime's
            bias = np.rint(bias_of(node, reader.constant(node, 2), bias_shape) / unit).astype(np.float64)
            exact = False
        else:
            ratio = bias_of(node, stored.scales(), bias_shape).astype(np.float64) / unit
            bias = np.rint((bias_of(node, stored.integers, bias_shape).astype(np.float64) - stored.zero_point) * ratio)
            exact = bool(np.all(ratio == 1))
        if not np.abs(bias).max() < 2**31 or (not exact and multiplier.max() > 1):
            return None
    return {"weight": integers, "bias": bias.astype(np.int32), "scale": multiplier}


def bias_of(node: NodeProto, bias: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One number for each output [O]: a Conv's as it is, shape (O,), a Gemm's broadcast to (1, O)."""
    aligned = (1,) * (len(shape) - bias.ndim) + bias.shape
    fits = len(aligned) == len(shape) and all(a in (1, b) for a, b in zip(aligned, shape, strict=True))
    if not fits or (len(shape) == 1 and bias.shape != shape):
        raise refuse(node, f"a bias of shape {list(bias.shape)}", (str(list(shape)),))
    return np.broadcast_to(bias.reshape(-1), (shape[-1],))


def conv(reader: Reader, node: NodeProto) -> bool:
    """DQ -> Conv -> Q as QLinearConv; False where the result or the weights are float."""
    weight = _integer_weights(reader, node, 0)
    if weight is None:
        return False
    source = reader.image(node, 0)
    out, kh, kw = conv_shape(node, weight.integers, source)
    attributes, height, width = window(node, (kh, kw), source)
    target = target_of(reader, node, (height, width, out))
    constants = None if target is None else _linear_constants(reader, node, weight, weight.integers, target, (out,))
    if target is None or constants is None:
        return False
    attributes["groups"] = groups_of(node)
    emit_quantised(reader, "conv_int", node, (source.name,), target, attributes, constants)
    return True


def conv_shape(node: NodeProto, weight: np.ndarray, source: Value) -> tuple[int, int, int]:
    """(output channels, kernel height, kernel width) of a convolution's weight, checked against its input."""
    groups = groups_of(node)
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
    plain = (attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0), attribute(node, "transA", 0)) == (1.0, 1.0, 0)
    transposed = node.op_type == "Gemm" and bool(attribute(node, "transB", 0))
    weight = _integer_weights(reader, node, 0 if transposed else 1)
    if weight is None or not plain or weight.integers.ndim != 2:
        return False
    integers, source = weight.integers if transposed else weight.integers.T, reader.value(node, 0)
    attributes, kernel = dense_as_conv(reader, node, integers)
    out = len(integers)
    target = target_of(reader, node, (1, 1, out), (1, out))
    constants = None if target is None else _linear_constants(reader, node, weight, integers, target, (1, out))
    if target is None or constants is None:
        return False
    emit_quantised(reader, "conv_int", node, (source.name,), target, attributes, {**constants, "weight": kernel})
    return True


def dense_as_conv(reader: Reader, node: NodeProto, matrix: np.ndarray) -> tuple[dict[str, object], np.ndarray]:
    """A matrix [O, C*H*W] over a flattened image as a convolution whose kernel is the whole image."""
    tensor, source = reader.tensor(node, 0), reader.value(node, 0)
    if len(tensor.shape) != 2:
        raise refuse(node, f"its input 0 has shape {list(tensor.shape)}", ("[1, C * H * W] after Flatten",))
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
    return attributes, weight


def binary(reader: Reader, node: NodeProto) -> bool:
    """DQ, DQ -> Add or Mul -> Q over uint8; Mul may scale channels by a vector (squeeze-excite)."""
    if not (reader.is_quantised(node, 0) and reader.is_quantised(node, 1)):
        return False
    names, shape, broadcast = operands(reader, node)
    first, second = (reader.values[name] for name in names)
    target = target_of(reader, node, first.shape, shape)
    if target is None or {first.kind, second.kind, target.value.kind} != {"u8"}:
        return False
    if broadcast and node.op_type == "Add":
        return False
    emit_quantised(reader, "add_int" if node.op_type == "Add" else "mul_int", node, names, target)
    return True


def operands(reader: Reader, node: NodeProto) -> tuple[tuple[str, str], tuple[int, ...], bool]:
    """(value names of the larger and the smaller operand, the result's shape, whether the smaller is broadcast).

    Only a vector a channel [1, C, 1, 1] is broadcast over an image.
    """
    first, second = reader.tensor(node, 0), reader.tensor(node, 1)
    a, b = reader.values[first.value], reader.values[second.value]
    if first.shape == second.shape and a.shape == b.shape:
        return (a.name, b.name), first.shape, False
    if a.pixels < b.pixels:
        first, second, a, b = second, first, b, a
    if not (len(first.shape) == len(second.shape) == 4 and b.pixels == 1 and a.channels == b.channels):
        shapes = f"shapes {list(first.shape)} and {list(second.shape)}"
        raise refuse(node, shapes, ("equal shapes", "[1, C, H, W] and [1, C, 1, 1]"))
    return (a.name, b.name), first.shape, True


def pool(reader: Reader, node: NodeProto) -> bool:
    """Average, global average and max pools over integers."""
    source = reader.image(node, 0)
    if node.op_type == "GlobalAveragePool":
        target = target_of(reader, node, (1, 1, source.channels))
        if target is None or target.value.kind != source.kind:
            return False
        emit_quantised(reader, "global_average_int", node, (source.name,), target)
        return True
    attributes, height, width = window(node, attribute(node, "kernel_shape", ()), source)
    target = target_of(reader, node, (height, width, source.channels))
    if target is None:
        return False
    value, kind = target.value, "average_pool_int"
    if node.op_type == "MaxPool":
        kind = "max_pool_int"
        same = (source.scale, source.zero_point, source.kind) == (value.scale, value.zero_point, value.kind)
    else:
        same = source.kind == value.kind == "u8"
    if not same:
        return False
    attributes["count_include_pad"] = int(attribute(node, "count_include_pad", 0))
    emit_quantised(reader, kind, node, (source.name,), target, attributes)
    return True


def concat(reader: Reader, node: NodeProto) -> bool:
    """Concat along channels; inputs of another scale go through a table first, as QLinearConcat does."""
    if not all(reader.is_quantised(node, index) for index in range(len(node.input))):
        return False
    sources, shape = parts(reader, node)
    target = target_of(reader, node, (*sources[0].shape[:2], shape[1]), shape)
    if target is None:
        return False
    value, names = target.value, list[str]()
    for index, source in enumerate(sources):
        if (source.scale, source.zero_point, source.kind) != (value.scale, value.zero_point, value.kind):
            moved = Value(
                f"{value.name}:part{index}", value.kind, *source.shape, scale=value.scale, zero_point=value.zero_point
            )
            _emit_table(reader, node, source, moved, _same, "requantise")
            source = moved
        names.append(source.name)
    emit_quantised(reader, "concat_int", node, tuple(names), target)
    return True


def parts(reader: Reader, node: NodeProto) -> tuple[list[Value], tuple[int, ...]]:
    """(the values that are joined along channels, the result's shape)."""
    sources = [reader.whole(node, index) for index in range(len(node.input))]
    shapes = [reader.tensor(node, index).shape for index in range(len(node.input))]
    rank, axis = len(shapes[0]), int(attribute(node, "axis", 1))
    if axis not in (1, 1 - rank):
        raise refuse(node, f"axis={axis}", ("axis=1, channels",))
    if any(len(shape) != rank or shape[2:] != shapes[0][2:] for shape in shapes):
        raise refuse(node, f"shapes {[list(shape) for shape in shapes]}", ("one height and width",))
    return sources, (1, sum(shape[1] for shape in shapes), *shapes[0][2:])


def softmax(reader: Reader, node: NodeProto) -> bool:
    """DQ -> Softmax -> Q over the channels of a uint8 vector of two numbers or more."""
    source = reader.whole(node, 0)
    target = target_of(reader, node, source.shape, reader.tensor(node, 0).shape)
    channel_axis(reader, node)
    if target is None or source.pixels != 1 or source.channels < 2 or {source.kind, target.value.kind} != {"u8"}:
        return False
    emit_quantised(reader, "softmax_int", node, (source.name,), target)
    return True


def channel_axis(reader: Reader, node: NodeProto) -> None:
    """Refuses a Softmax over anything but the channels."""
    rank, axis = len(reader.tensor(node, 0).shape), int(attribute(node, "axis", -1))
    if axis not in (1, 1 - rank):
        raise refuse(node, f"axis={axis} of {rank} dimensions", ("axis=1, channels",))


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
    target = target_of(reader, node, source.shape, reader.tensor(node, 0).shape)
    if target is None:
        return False
    accept(reader, node, target)
    bounds = (target.low, target.high)
    _emit_table(reader, node, source, target.value, unary_function(reader, node), node.op_type.lower(), bounds)
    return True


def _same(x: activations.Float) -> activations.Float:
    return x


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
