"""Float nodes and the 1-bit convolution, read as float32 NHWC steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import Value
from hwnas.export.native.read_quantised import bias_of, channel_axis, conv_shape, dense_as_conv, operands, parts
from hwnas.export.native.reader import Reader, Tensor, attribute, channel_vector, clip_bounds, refuse, shape_of
from hwnas.export.native.windows import groups_of, window

if TYPE_CHECKING:
    from onnx import NodeProto


def _output(node: NodeProto, height: int, width: int, channels: int) -> Value:
    return Value(node.output[0], "f32", height, width, channels)


def conv(reader: Reader, node: NodeProto) -> None:
    """Conv with float weights (or integer weights whose result nobody quantises)."""
    image, weight = reader.image(node, 0), reader.constant(node, 1)
    bias = reader.optional_constant(node, 2)
    out, kh, kw = conv_shape(node, weight, image)
    attributes, height, width = window(node, (kh, kw), image)
    attributes["groups"] = groups_of(node)
    bias = np.zeros(out, np.float32) if bias is None else bias_of(node, bias, (out,))
    source = reader.real(node, 0, padded=attributes["pads"] != (0, 0, 0, 0))
    value = _output(node, height, width, out)
    reader.emit("conv_f32", node, (source.name,), value, attributes, {"weight": weight, "bias": bias})
    reader.set_real(node, value, 4)


def gemm(reader: Reader, node: NodeProto) -> None:
    """Gemm or MatMul with a constant matrix."""
    matrix = reader.constant(node, 1)
    if matrix.ndim != 2:
        raise refuse(node, f"a matrix of shape {list(matrix.shape)}", ("[K, N]",))
    out = matrix.shape[1]
    bias = np.zeros(out, np.float32)
    if node.op_type == "Gemm":
        if attribute(node, "transA", 0):
            raise refuse(node, "transA=1", ("transA=0",))
        matrix = matrix * np.float32(attribute(node, "alpha", 1.0))
        matrix = matrix.T if attribute(node, "transB", 0) else matrix
        out = matrix.shape[1]
        given = reader.optional_constant(node, 2)
        bias = np.zeros(out, np.float32) if given is None else bias_of(node, given, (1, out))
        bias = bias * np.float32(attribute(node, "beta", 1.0))
    attributes, weight = dense_as_conv(reader, node, matrix.T)
    value = _output(node, 1, 1, out)
    source = reader.real(node, 0)
    reader.emit("conv_f32", node, (source.name,), value, attributes, {"weight": weight, "bias": bias})
    reader.set_real(node, value, 2)


def activation(reader: Reader, node: NodeProto) -> None:
    """Relu, Clip, HardSwish, HardSigmoid, Sigmoid, Tanh, LeakyRelu and PRelu."""
    tensor = reader.tensor(node, 0)
    attributes: dict[str, object] = {"function": node.op_type.lower()}
    constants: dict[str, np.ndarray] = {}
    channels = reader.value(node, 0).channels
    if node.op_type == "Clip":
        low, high = clip_bounds(reader, node)
        attributes.update(low=low, high=high)
        if (low, high) == (0.0, np.inf):
            attributes["function"] = "relu"
    elif node.op_type == "HardSigmoid":
        attributes.update(alpha=attribute(node, "alpha", 0.2), beta=attribute(node, "beta", 0.5))
    elif node.op_type == "LeakyRelu":
        attributes["function"] = "prelu"
        constants["slope"] = np.full(channels, attribute(node, "alpha", 0.01), np.float32)
    elif node.op_type == "PRelu":
        attributes["function"] = "prelu"
        constants["slope"] = channel_vector(reader, node, reader.constant(node, 1), tensor)
    source = reader.real(node, 0)
    value = _output(node, *source.shape)
    reader.emit("activation_f32", node, (source.name,), value, attributes, constants)
    reader.define(node, value.name, Tensor(value.name, "real", tensor.shape))


def binary(reader: Reader, node: NodeProto) -> None:
    """Add and Mul of two activations, or of an activation and a constant a channel."""
    kind = "add_f32" if node.op_type == "Add" else "mul_f32"
    constant = next((i for i in (0, 1) if reader.is_constant(node.input[i])), None)
    names: tuple[str, ...]
    if constant is not None:
        tensor = reader.tensor(node, 1 - constant)
        constants = {"vector": channel_vector(reader, node, reader.constant(node, constant), tensor)}
        source, shape, broadcast = reader.real(node, 1 - constant), tensor.shape, False
        names = (source.name,)
    else:
        (larger, _), shape, broadcast = operands(reader, node)
        first, second = reader.real(node, 0), reader.real(node, 1)
        if reader.value(node, 0).name != larger:
            first, second = second, first
        source, names, constants = first, (first.name, second.name), {}
    value = _output(node, *source.shape)
    reader.emit(kind, node, names, value, {"broadcast": broadcast}, constants)
    reader.define(node, value.name, Tensor(value.name, "real", shape))


def pool(reader: Reader, node: NodeProto) -> None:
    """GlobalAveragePool, AveragePool and MaxPool."""
    image = reader.image(node, 0)
    if node.op_type == "GlobalAveragePool":
        source, value = reader.real(node, 0), _output(node, 1, 1, image.channels)
        reader.emit("global_average_f32", node, (source.name,), value)
    else:
        attributes, height, width = window(node, attribute(node, "kernel_shape", ()), image)
        attributes["count_include_pad"] = int(attribute(node, "count_include_pad", 0))
        source, value = reader.real(node, 0), _output(node, height, width, image.channels)
        kind = "average_pool_f32" if node.op_type == "AveragePool" else "max_pool_f32"
        reader.emit(kind, node, (source.name,), value, attributes)
    reader.set_real(node, value, 4)


def concat(reader: Reader, node: NodeProto) -> None:
    """Concat along channels."""
    images, shape = parts(reader, node)
    sources = [reader.real(node, index) for index in range(len(node.input))]
    value = _output(node, *images[0].shape[:2], shape[1])
    reader.emit("concat_f32", node, tuple(s.name for s in sources), value)
    reader.define(node, value.name, Tensor(value.name, "real", shape))


def softmax(reader: Reader, node: NodeProto) -> None:
    """Softmax over the channels of a vector, or of every pixel of an image."""
    shape = reader.tensor(node, 0).shape
    reader.whole(node, 0)
    channel_axis(reader, node)
    source = reader.real(node, 0)
    value = _output(node, *source.shape)
    reader.emit("softmax_f32", node, (source.name,), value)
    reader.define(node, value.name, Tensor(value.name, "real", shape))


def shape_only(reader: Reader, node: NodeProto) -> None:
    """Flatten, Reshape, Squeeze, Identity and Dropout: the same numbers, in memory as they are, under another name."""
    tensor, value = reader.tensor(node, 0), reader.value(node, 0)
    shape = _new_shape(reader, node, tensor.shape)
    if shape not in (shape_of(value, 2), shape_of(value, 4)):
        change = f"a change of shape from {list(tensor.shape)} to {list(shape)}"
        raise refuse(node, change, ("Flatten", "Reshape to [1, C * H * W]"))
    reader.define(node, node.output[0], Tensor(tensor.value, tensor.form, shape))


def _new_shape(reader: Reader, node: NodeProto, shape: tuple[int, ...]) -> tuple[int, ...]:
    if node.op_type == "Dropout":
        training = reader.optional_constant(node, 2, np.bool_)
        if training is not None and training.any():
            raise refuse(node, "training_mode=true", ("training_mode=false",))
        return shape
    if node.op_type == "Flatten":
        axis = int(attribute(node, "axis", 1))
        if not -len(shape) <= axis <= len(shape):
            raise refuse(node, f"axis={axis} of {len(shape)} dimensions", ("axis=1",))
        axis += len(shape) if axis < 0 else 0
        return (int(np.prod(shape[:axis])), int(np.prod(shape[axis:])))
    if node.op_type == "Squeeze":
        axes = reader.optional_constant(node, 1, np.int64)
        chosen = [i for i, size in enumerate(shape) if size == 1] if axes is None else axes.reshape(-1).tolist()
        if any(not -len(shape) <= axis < len(shape) or shape[axis] != 1 for axis in chosen):
            raise refuse(node, f"axes {chosen} of {list(shape)}", ("axes of size 1",))
        gone = {axis % len(shape) for axis in chosen}
        return tuple(size for i, size in enumerate(shape) if i not in gone)
    if node.op_type == "Reshape":
        return _reshaped(node, shape, reader.constant(node, 1, np.int64).reshape(-1).tolist())
    return shape


def _reshaped(node: NodeProto, shape: tuple[int, ...], wanted: list[int]) -> tuple[int, ...]:
    """ONNX's Reshape: 0 keeps a size (unless allowzero), one -1 is what is left."""
    kept = not attribute(node, "allowzero", 0)
    sizes = [shape[i] if size == 0 and kept and i < len(shape) else size for i, size in enumerate(wanted)]
    total, rest = int(np.prod(shape)), int(np.prod([size for size in sizes if size != -1], dtype=np.float64))
    if sizes.count(-1) == 1 and rest > 0:
        sizes[sizes.index(-1)] = total // rest
    if min(sizes, default=1) < 1 or int(np.prod(sizes, dtype=np.float64)) != total:
        raise refuse(node, f"a Reshape of {list(shape)} to {wanted}", ("[1, -1]",))
    return tuple(sizes)


def shape(reader: Reader, node: NodeProto) -> None:
    """Shape, which ONNX's version converter inserts: every size is known, so it is a constant."""
    sizes = reader.tensor(node, 0).shape
    start, end = int(attribute(node, "start", 0)), attribute(node, "end", None)
    reader.constants[node.output[0]] = np.array(sizes[start:end], np.int64)


def binary_conv(reader: Reader, node: NodeProto) -> None:
    """hwnas::BinaryConv: sign-pack by threshold, 1-bit convolution, times scale, plus bias."""
    image = reader.image(node, 0)
    packed = reader.constant(node, 2, np.uint8)
    if packed.ndim != 4:
        raise refuse(node, f"a weight {list(packed.shape)}", ("uint8 [O, KH, KW, ceil(C / groups / 8)]",))
    out, kh, kw, packed_bytes = packed.shape
    attributes, height, width = window(node, (kh, kw), image)
    groups, per_group = groups_of(node), int(attribute(node, "in_channels", 0))
    if per_group * groups != image.channels or packed_bytes != -(-per_group // 8) or out % groups:
        raise refuse(
            node,
            f"in_channels={per_group} group={groups}, weight {list(packed.shape)} over {image.channels} channels",
            ("in_channels * group = C",),
        )
    attributes.update(groups=groups, in_channels=per_group)
    vectors = {}
    for name, index, size in (("threshold", 1, image.channels), ("scale", 3, out), ("bias", 4, out)):
        given = reader.constant(node, index)
        if given.size not in (1, size) or not np.isfinite(given).all():
            raise refuse(node, f"its {name} of shape {list(given.shape)}", (f"{size} finite numbers",))
        vectors[name] = np.ascontiguousarray(np.broadcast_to(given.reshape(-1), (size,)))
    source = reader.real(node, 0)
    bits = Value(f"{node.output[0]}:bits", "bits", *source.shape)
    reader.emit("sign_pack", node, (source.name,), bits, {"groups": groups}, {"threshold": vectors.pop("threshold")})
    value = _output(node, height, width, out)
    reader.emit("binary_conv", node, (bits.name,), value, attributes, {"weight": packed, **vectors})
    reader.set_real(node, value, 4)
