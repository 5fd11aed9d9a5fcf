"""Float nodes and the 1-bit convolution, read as float32 NHWC steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import Value
from hwnas.export.native.read_quantised import conv_shape, dense_as_conv
from hwnas.export.native.reader import Reader, Tensor, attribute, clip_bounds, refuse, window

if TYPE_CHECKING:
    from onnx import NodeProto


def _output(node: NodeProto, height: int, width: int, channels: int) -> Value:
    return Value(node.output[0], "f32", height, width, channels)


def conv(reader: Reader, node: NodeProto) -> None:
    """Conv with float weights (or integer weights whose result nobody quantises)."""
    source = reader.real(node, 0)
    weight = reader.constant(node, 1).astype(np.float32)
    bias = reader.optional_constant(node, 2)
    out, kh, kw = conv_shape(node, weight, source)
    attributes, height, width = window(node, (kh, kw), source)
    attributes["groups"] = int(attribute(node, "group", 1))
    constants = {"weight": weight, "bias": np.zeros(out, np.float32) if bias is None else bias.astype(np.float32)}
    value = _output(node, height, width, out)
    reader.emit("conv_f32", node, (source.name,), value, attributes, constants)
    reader.set_real(node, value)


def gemm(reader: Reader, node: NodeProto) -> None:
    """Gemm or MatMul with a constant matrix."""
    matrix = reader.constant(node, 1).astype(np.float32)
    bias = reader.optional_constant(node, 2) if node.op_type == "Gemm" else None
    if node.op_type == "Gemm":
        if attribute(node, "transA", 0):
            raise refuse(node, "transA=1", ("transA=0",))
        matrix = matrix * np.float32(attribute(node, "alpha", 1.0))
        bias = None if bias is None else bias * np.float32(attribute(node, "beta", 1.0))
    if not (node.op_type == "Gemm" and attribute(node, "transB", 0)):
        matrix = matrix.T
    source = reader.real(node, 0)
    out = matrix.shape[0]
    bias = np.zeros(out, np.float32) if bias is None else np.broadcast_to(bias.reshape(-1), (out,))
    attributes, constants = dense_as_conv(node, matrix, source, {"bias": bias.astype(np.float32)})
    value = _output(node, 1, 1, out)
    reader.emit("conv_f32", node, (source.name,), value, attributes, constants)
    reader.set_real(node, value)


def activation(reader: Reader, node: NodeProto) -> None:
    """Relu, Clip, HardSwish, HardSigmoid, Sigmoid, Tanh, LeakyRelu and PRelu."""
    source = reader.real(node, 0)
    attributes: dict[str, object] = {"function": node.op_type.lower()}
    constants: dict[str, np.ndarray] = {}
    if node.op_type == "Clip":
        low, high = clip_bounds(reader, node)
        attributes.update(low=float(low), high=float(high))
    elif node.op_type == "HardSigmoid":
        attributes.update(alpha=attribute(node, "alpha", 0.2), beta=attribute(node, "beta", 0.5))
    elif node.op_type == "LeakyRelu":
        attributes["function"] = "prelu"
        constants["slope"] = np.full(source.channels, attribute(node, "alpha", 0.01), np.float32)
    elif node.op_type == "PRelu":
        slope = reader.constant(node, 1).astype(np.float32)
        if slope.size not in (1, source.channels):
            raise refuse(node, f"a slope of shape {slope.shape}", ("[C, 1, 1]",))
        constants["slope"] = np.ascontiguousarray(np.broadcast_to(slope.reshape(-1), (source.channels,)))
    value = _output(node, *source.shape)
    reader.emit("activation_f32", node, (source.name,), value, attributes, constants)
    reader.set_real(node, value)


def binary(reader: Reader, node: NodeProto) -> None:
    """Add and Mul of two activations, or of an activation and a constant a channel."""
    kind = "add_f32" if node.op_type == "Add" else "mul_f32"
    constant = next((i for i in (0, 1) if reader.is_constant(node.input[i])), None)
    if constant is not None:
        source = reader.real(node, 1 - constant)
        data = reader.constant(node, constant).astype(np.float32)
        if data.size not in (1, source.channels) or (data.size > 1 and data.shape[-1] != 1 and source.pixels > 1):
            raise refuse(node, f"a constant of shape {data.shape}", ("[C, 1, 1]", "a scalar"))
        vector = np.ascontiguousarray(np.broadcast_to(data.reshape(-1), (source.channels,)))
        names: tuple[str, ...] = (source.name,)
        constants = {"vector": vector}
    else:
        source, other = reader.real(node, 0), reader.real(node, 1)
        if source.pixels < other.pixels:
            source, other = other, source
        broadcast = other.pixels == 1 and other.channels == source.channels and kind == "mul_f32"
        if source.shape != other.shape and not broadcast:
            raise refuse(node, f"shapes {source.shape} and {other.shape}", ("equal shapes", "Mul by [1, C, 1, 1]"))
        names, constants = (source.name, other.name), {}
    value = _output(node, *source.shape)
    reader.emit(kind, node, names, value, {}, constants)
    reader.set_real(node, value)


def pool(reader: Reader, node: NodeProto) -> None:
    """GlobalAveragePool, AveragePool and MaxPool."""
    source = reader.real(node, 0)
    if node.op_type == "GlobalAveragePool":
        value = _output(node, 1, 1, source.channels)
        reader.emit("global_average_f32", node, (source.name,), value)
    else:
        attributes, height, width = window(node, attribute(node, "kernel_shape", ()), source)
        attributes["count_include_pad"] = int(attribute(node, "count_include_pad", 0))
        value = _output(node, height, width, source.channels)
        kind = "average_pool_f32" if node.op_type == "AveragePool" else "max_pool_f32"
        reader.emit(kind, node, (source.name,), value, attributes)
    reader.set_real(node, value)


def concat(reader: Reader, node: NodeProto) -> None:
    """Concat along channels."""
    if attribute(node, "axis", 1) not in (1, -3):
        raise refuse(node, "an axis other than channels", ("axis=1",))
    sources = [reader.real(node, index) for index in range(len(node.input))]
    value = _output(node, sources[0].height, sources[0].width, sum(s.channels for s in sources))
    reader.emit("concat_f32", node, tuple(s.name for s in sources), value)
    reader.set_real(node, value)


def softmax(reader: Reader, node: NodeProto) -> None:
    """Softmax over the channels of a vector."""
    source = reader.real(node, 0)
    if source.pixels != 1:
        raise refuse(node, "a softmax over an image", ("a vector [1, C]",))
    value = _output(node, *source.shape)
    reader.emit("softmax_f32", node, (source.name,), value)
    reader.set_real(node, value)


def shape_only(reader: Reader, node: NodeProto) -> None:
    """Flatten, Reshape to [1, -1], Squeeze, Identity and Dropout: the same numbers under another name."""
    tensor, value = reader.tensor(node, 0), reader.value(node, 0)
    if node.op_type in ("Reshape", "Squeeze") and value.pixels > 1:
        shape = [int(v) for v in reader.constant(node, 1).reshape(-1)] if node.op_type == "Reshape" else []
        if len(shape) != 2:
            raise refuse(node, "a change of shape", ("Flatten", "Reshape to [1, -1]"))
    flat = tensor.flat or node.op_type in ("Flatten", "Reshape", "Squeeze")
    reader.tensors[node.output[0]] = Tensor(tensor.value, tensor.form, flat)


def binary_conv(reader: Reader, node: NodeProto) -> None:
    """hwnas::BinaryConv: sign-pack by threshold, 1-bit convolution, times scale, plus bias."""
    source = reader.real(node, 0)
    threshold, packed, scale, bias = (reader.constant(node, index) for index in (1, 2, 3, 4))
    if packed.ndim != 4 or packed.dtype != np.uint8:
        raise refuse(
            node, f"a weight {packed.dtype} {list(packed.shape)}", ("uint8 [O, KH, KW, ceil(C / groups / 8)]",)
        )
    out, kh, kw, packed_bytes = packed.shape
    attributes, height, width = window(node, (kh, kw), source)
    groups, per_group = int(attribute(node, "group", 1)), int(attribute(node, "in_channels", 0))
    if per_group * groups != source.channels or packed_bytes != -(-per_group // 8):
        raise refuse(
            node,
            f"in_channels={per_group} group={groups} over {source.channels} channels",
            ("in_channels * group = C",),
        )
    attributes.update(groups=groups, in_channels=per_group)
    bits = Value(f"{node.output[0]}:bits", "bits", *source.shape)
    threshold = np.ascontiguousarray(np.broadcast_to(threshold.reshape(-1), (source.channels,)), np.float32)
    reader.emit("sign_pack", node, (source.name,), bits, {"groups": groups}, {"threshold": threshold})
    value = _output(node, height, width, out)
    constants = {
        "weight": packed,
        "scale": scale.astype(np.float32).reshape(out),
        "bias": bias.astype(np.float32).reshape(out),
    }
    reader.emit("binary_conv", node, (bits.name,), value, attributes, constants)
    reader.set_real(node, value)
