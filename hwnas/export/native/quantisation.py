"""QuantizeLinear and DequantizeLinear: their scales, zero points and types, checked, and the steps that end in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native import activations
from hwnas.export.native.ir import Value
from hwnas.export.native.reader import Quantised, Reader, Tensor, attribute, clip_bounds, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

KINDS = {np.dtype(np.uint8): "u8", np.dtype(np.int8): "i8"}


def scale_of(reader: Reader, node: NodeProto) -> np.ndarray:
    """The constant scales, float32, all finite and above 0."""
    scale = reader.constants.get(node.input[1])
    if scale is None:
        raise refuse(node, f"its scale ({node.input[1]}) must be a constant", ("an initializer",))
    if scale.dtype != np.float32 or scale.ndim > 1 or attribute(node, "block_size", 0):
        form = f"{scale.dtype} {list(scale.shape)}, block_size={attribute(node, 'block_size', 0)}"
        raise refuse(node, f"a scale {form}", ("float32, one a tensor or one a channel",))
    if not np.all(np.isfinite(scale) & (scale > 0)):
        raise refuse(node, "a scale that is not above 0", ("a positive float32",))
    return scale.reshape(-1)


def _zero_points(reader: Reader, node: NodeProto) -> np.ndarray | None:
    if len(node.input) < 3 or not node.input[2]:
        return None
    zeros = reader.constants.get(node.input[2])
    if zeros is None:
        raise refuse(node, f"its zero point ({node.input[2]}) must be a constant", ("an initializer",))
    return zeros


def quantisation(reader: Reader, node: NodeProto, kind: str | None = None) -> tuple[float, int, str]:
    """(scale, zero point, value kind) of a per-tensor QuantizeLinear, or of a DequantizeLinear over `kind`."""
    from onnx import helper

    scale, zeros = scale_of(reader, node), _zero_points(reader, node)
    if scale.size != 1 or (zeros is not None and zeros.size != 1):
        raise refuse(node, "an activation's scale must be one constant", ("one scale a tensor",))
    stated = attribute(node, "output_dtype", 0) if node.op_type == "QuantizeLinear" else 0
    dtype = np.dtype(np.int8 if kind == "i8" else np.uint8) if zeros is None else zeros.dtype
    if stated:
        try:
            named = helper.tensor_dtype_to_np_dtype(stated)
        except KeyError:
            raise refuse(node, f"output_dtype={stated}", ("uint8", "int8")) from None
        dtype = named if zeros is None else dtype
        if named != dtype:
            raise refuse(node, f"output_dtype={stated} with a zero point of {dtype}", ("one type",))
    if dtype not in KINDS or (kind is not None and KINDS[dtype] != kind):
        raise refuse(node, f"an activation's zero point must be a constant uint8 or int8, not {dtype}", ("uint8",))
    if attribute(node, "precision", 0):
        raise refuse(node, "a precision other than the scale's", ("precision=0",))
    return float(scale[0]), 0 if zeros is None else int(zeros.reshape(())), KINDS[dtype]


def quantised_constant(reader: Reader, node: NodeProto) -> Quantised:
    """A DequantizeLinear of an initializer."""
    integers, scale, zeros = reader.constants[node.input[0]], scale_of(reader, node), _zero_points(reader, node)
    if integers.dtype not in (np.int8, np.uint8, np.int32):
        raise refuse(node, f"a constant of {integers.dtype}", ("int8", "uint8", "int32 for a bias"))
    axis = int(attribute(node, "axis", 1))
    if scale.size > 1:
        if not -integers.ndim <= axis < integers.ndim or scale.size != integers.shape[axis]:
            found = f"{scale.size} scales along axis {axis} of {list(integers.shape)}"
            raise refuse(node, found, ("one scale a channel",))
        axis %= integers.ndim
    zero = 0
    if zeros is not None:
        if zeros.dtype != integers.dtype or zeros.size != scale.size:
            found = f"zero points {zeros.dtype} {list(zeros.shape)} for {integers.dtype} and {scale.size} scales"
            raise refuse(node, found, ("one zero point a scale",))
        if np.any(zeros != zeros.flat[0]):
            raise refuse(node, "zero points that differ between channels", ("zero point 0",))
        zero = int(zeros.flat[0])
    if integers.dtype == np.int32 and zero:
        raise refuse(node, f"a zero point of {zero} for int32", ("zero point 0",))
    if attribute(node, "output_dtype", 0) not in (0, 1):
        raise refuse(node, f"output_dtype={attribute(node, 'output_dtype', 0)}", ("float32",))
    return Quantised(integers, scale, zero, axis)


@dataclass(frozen=True)
class Target:
    """Where a quantised step's result goes: the integer value, and the codes that a Relu or Clip before it allows."""

    value: Value
    shape: tuple[int, ...]
    absorbed: tuple[str, ...]
    low: int
    high: int

    @property
    def clips(self) -> bool:
        """Whether the Relu or Clip still bites where the codes saturate anyway."""
        return (self.low, self.high) != activations.integer_range(self.value.kind)


def target_of(reader: Reader, node: NodeProto, like: Value, shape: tuple[int, ...] | None = None) -> Target | None:
    """The QuantizeLinear that ends this node (through Relu or Clip), or None where floats leave it.

    `like` has the shape and the layout of the node's output, `shape` is ONNX's where it is seen as another.
    """
    name, bounds, absorbed = node.output[0], (-np.inf, np.inf), list[str]()
    while True:
        users = reader.consumers.get(name, [])
        if len(users) != 1 or name in reader.output_names or users[0].input[0] != name:
            return None
        user = users[0]
        if user.op_type == "QuantizeLinear":
            break
        if user.op_type not in ("Relu", "Clip"):
            return None
        low, high = (0.0, np.inf) if user.op_type == "Relu" else clip_bounds(reader, user)
        bounds = (min(max(bounds[0], low), high), min(max(bounds[1], low), high))
        absorbed.append(user.output[0])
        name = user.output[0]
    scale, zero_point, kind = quantisation(reader, user)
    value = like.like(user.output[0], kind, scale, zero_point)
    least, greatest = activations.integer_range(kind)
    codes = activations.quantise(np.array(bounds, np.float32), scale, zero_point, least, greatest)
    absorbed.append(user.output[0])
    return Target(value, shape or value.shape, tuple(absorbed), int(codes[0]), int(codes[1]))


def accept(reader: Reader, node: NodeProto, target: Target) -> None:
    """The nodes up to the QuantizeLinear are part of the step that made the target's value."""
    reader.absorbed.update(target.absorbed)
    value = target.value
    if not value.may_be(target.shape):  # rows in ONNX's order: who takes them for an image must be given one
        value = reader.seen_as(value, target.shape)
        value = reader.image_codes(node, value) if value.is_image else value
    reader.define(node, target.value.name, Tensor(value.name, "integer", target.shape))


def emit_quantised(
    reader: Reader,
    kind: str,
    node: NodeProto,
    inputs: tuple[str, ...],
    target: Target,
    attributes: Mapping[str, object] | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Emits the step into the target, with a table after it where a Relu or Clip still bites."""
    value = target.value
    if not target.clips:
        reader.emit(kind, node, inputs, value, attributes, constants)
        accept(reader, node, target)
        return
    raw = value.like(f"{value.name}:unclipped", value.kind, value.scale, value.zero_point)
    reader.emit(kind, node, inputs, raw, attributes, constants)
    codes = np.arange(256, dtype=np.uint8)
    signed = codes.view(np.int8).astype(np.int64) if value.kind == "i8" else codes.astype(np.int64)
    clipped = np.clip(signed, target.low, target.high).astype(np.uint8)
    reader.emit("lut", node, (raw.name,), value, {"function": "clip"}, {"table": clipped})
    accept(reader, node, target)


NOT_QUANTISED = "no QuantizeLinear follows it alone, through Relu and Clip"


def emit_table(
    reader: Reader,
    node: NodeProto,
    source: Value,
    value: Value,
    function: Callable[[activations.Float], activations.Float],
    name: str,
    bounds: tuple[int, int] | None = None,
) -> None:
    """Any function of one 8-bit code as a step of 256 bytes; `bounds` are the codes that a Relu or Clip allows."""
    scales, zeros = (source.scale, value.scale), (source.zero_point, value.zero_point)
    table = activations.table(function, (source.kind, value.kind), scales, zeros)
    if bounds is not None:
        signed = table.view(np.int8) if value.kind == "i8" else table
        table = np.clip(signed.astype(np.int64), *bounds).astype(np.uint8)
    reader.emit("lut", node, (source.name,), value, {"function": name}, {"table": table})


def identity(x: activations.Float) -> activations.Float:
    """The function of a table that only changes scales."""
    return x


def integer_weights(reader: Reader, node: NodeProto, axis: int) -> Quantised | str:
    """The weights where an integer kernel takes them: int8, zero point 0, scales of the whole or along `axis`; else why
    not."""
    weight = reader.quantised_constants.get(node.input[1])
    if weight is None:
        return "its weights are floats"
    if weight.integers.dtype != np.int8 or weight.zero_point:
        return f"its weights are {weight.integers.dtype} with zero point {weight.zero_point}, not int8 with 0"
    fits = weight.scale.size == 1 or weight.axis == axis
    return weight if fits else f"its weights have a scale along axis {weight.axis}, not {axis}"


def linear_constants(
    reader: Reader,
    node: NodeProto,
    weight: Quantised,
    integers: np.ndarray,
    target: Target,
    bias_shape: tuple[int, ...],
) -> dict[str, np.ndarray] | str:
    """weight, bias (int32) and the float32 multiplier s_x * s_w / s_y, rounded in that order as ONNX Runtime does.

    A bias with a scale of its own is rounded to multiples of s_x * s_w. A reason where that would not keep it within
    half a code of the output, or within int32.
    """
    channels = len(integers)
    x_scale, y_scale = np.float32(reader.value(node, 0).scale), np.float32(target.value.scale)
    with np.errstate(all="ignore"):  # scales whose product leaves float32 are found right below
        unit = x_scale * np.broadcast_to(weight.scale, (channels,))
        multiplier = (unit / y_scale).astype(np.float32)
    tiny = np.finfo(np.float32).tiny
    if unit.min() < tiny or not np.all(np.isfinite(multiplier) & (multiplier >= tiny)):
        return "the product of its scales leaves float32"
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
            return "its bias leaves int32, or its rounding half a code"
    return {"weight": integers, "bias": bias.astype(np.int32), "scale": multiplier}


def bias_of(node: NodeProto, bias: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One number for each output [O]: a Conv's as it is, shape (O,), a Gemm's broadcast to (1, O)."""
    aligned = (1,) * (len(shape) - bias.ndim) + bias.shape
    fits = len(aligned) == len(shape) and all(a in (1, b) for a, b in zip(aligned, shape, strict=True))
    if not fits or (len(shape) == 1 and bias.shape != shape):
        raise refuse(node, f"a bias of shape {list(bias.shape)}", (str(list(shape)),))
    return np.broadcast_to(bias.reshape(-1), (shape[-1],))
