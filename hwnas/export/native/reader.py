"""The state of reading one ONNX model: constants, what each tensor is so far, and the steps emitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native import activations
from hwnas.export.native.ir import Step, Value

if TYPE_CHECKING:
    from onnx import NodeProto


@dataclass(frozen=True)
class Tensor:
    """What an ONNX tensor name stands for: a value, seen as real numbers or as integers.

    form: "real" (an f32 value), "integer" (the output of QuantizeLinear) or "dequantised" (the same integers
    after DequantizeLinear, not computed until some step needs floats). `flat` marks [1, C*H*W] views.
    """

    value: str
    form: str
    flat: bool = False


@dataclass(frozen=True)
class Quantised:
    """A constant seen through DequantizeLinear: integers, float32 scales (one, or one a channel) and zero point."""

    integers: np.ndarray
    scale: np.ndarray
    zero_point: int
    axis: int

    def real(self) -> np.ndarray:
        shape = [1] * self.integers.ndim
        if self.scale.size > 1:
            shape[self.axis] = self.scale.size
        centred = (self.integers.astype(np.int64) - self.zero_point).astype(np.float32)
        return (centred * self.scale.reshape(shape)).astype(np.float32)


@dataclass(frozen=True)
class Target:
    """Where a quantised step's result goes: the integer value, and bounds from a Relu or Clip before it."""

    value: Value
    absorbed: tuple[str, ...]
    low: int
    high: int


@dataclass
class Reader:
    """Accumulates values and steps while nodes are read in order."""

    constants: dict[str, np.ndarray]
    consumers: dict[str, list[NodeProto]]
    output_name: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    quantised_constants: dict[str, Quantised] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    absorbed: set[str] = field(default_factory=set)
    real_of: dict[str, str] = field(default_factory=dict)

    def add_value(self, value: Value) -> Value:
        self.values[value.name] = value
        return value

    def emit(
        self,
        kind: str,
        node: NodeProto,
        inputs: tuple[str, ...],
        output: Value,
        attributes: Mapping[str, object] | None = None,
        constants: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.add_value(output)
        self.steps.append(Step(kind, label(node), inputs, (output.name,), attributes or {}, constants or {}))

    def set_real(self, node: NodeProto, value: Value) -> None:
        self.tensors[node.output[0]] = Tensor(value.name, "real")

    def is_constant(self, name: str) -> bool:
        return name in self.constants or name in self.quantised_constants

    def constant(self, node: NodeProto, index: int) -> np.ndarray:
        """The constant input `index`, dequantised if need be."""
        name = node.input[index]
        if name in self.quantised_constants:
            return self.quantised_constants[name].real()
        if name not in self.constants:
            raise refuse(
                node, f"its input {index} ({name}) must be a constant", (f"{node.op_type} with an initializer",)
            )
        return self.constants[name]

    def optional_constant(self, node: NodeProto, index: int) -> np.ndarray | None:
        if len(node.input) <= index or not node.input[index]:
            return None
        return self.constant(node, index)

    def tensor(self, node: NodeProto, index: int) -> Tensor:
        name = node.input[index]
        if name not in self.tensors:
            raise refuse(node, f"its input {index} ({name}) must be an activation", ("an activation and a constant",))
        return self.tensors[name]

    def value(self, node: NodeProto, index: int) -> Value:
        return self.values[self.tensor(node, index).value]

    def is_quantised(self, node: NodeProto, index: int) -> bool:
        tensor = self.tensors.get(node.input[index])
        return tensor is not None and tensor.form == "dequantised"

    def real(self, node: NodeProto, index: int) -> Value:
        """Input `index` as a float nhwc value: dequantises or transposes once, on first need."""
        tensor = self.tensor(node, index)
        value = self.values[tensor.value]
        if tensor.form == "integer":
            raise refuse(
                node, f"its input {index} holds integers, it must hold floats", ("DequantizeLinear before it",)
            )
        if tensor.form == "real" and (value.layout == "nhwc" or value.pixels == 1):
            return value
        if value.name not in self.real_of:
            kind = "to_nhwc" if tensor.form == "real" else "dequantize"
            output = Value(f"{value.name}:real", "f32", value.height, value.width, value.channels)
            self.emit(kind, node, (value.name,), output)
            self.real_of[value.name] = output.name
        return self.values[self.real_of[value.name]]

    def target(self, node: NodeProto, height: int, width: int, channels: int) -> Target | None:
        """The QuantizeLinear that ends this node (through Relu or Clip), or None where floats leave it."""
        name, bounds, absorbed = node.output[0], [-np.inf, np.inf], list[str]()
        while True:
            users = self.consumers.get(name, [])
            if len(users) != 1 or name == self.output_name:
                return None
            user = users[0]
            if user.op_type == "QuantizeLinear":
                break
            if user.op_type not in ("Relu", "Clip"):
                return None
            low, high = (0.0, np.inf) if user.op_type == "Relu" else clip_bounds(self, user)
            bounds = [min(max(bounds[0], low), high), max(min(bounds[1], high), low)]
            absorbed.append(user.output[0])
            name = user.output[0]
        scale, zero_point, kind = self.quantisation(user)
        value = Value(user.output[0], kind, height, width, channels, scale=scale, zero_point=zero_point)
        least, greatest = activations.integer_range(kind)
        codes = [
            int(activations.quantise(np.array([b], np.float32), scale, zero_point, least, greatest)[0])
            if np.isfinite(b)
            else edge
            for b, edge in zip(bounds, (least, greatest), strict=True)
        ]
        return Target(value, (*absorbed, user.output[0]), codes[0], codes[1])

    def accept(self, target: Target) -> None:
        """The nodes up to the QuantizeLinear are part of a step now."""
        self.absorbed.update(target.absorbed)
        self.tensors[target.value.name] = Tensor(target.value.name, "integer")

    def emit_quantised(
        self,
        kind: str,
        node: NodeProto,
        inputs: tuple[str, ...],
        target: Target,
        attributes: Mapping[str, object] | None = None,
        constants: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Emits the step into the target, with a table after it where a Relu or Clip still bites."""
        self.accept(target)
        value = target.value
        least, greatest = activations.integer_range(value.kind)
        if (target.low, target.high) == (least, greatest):
            self.emit(kind, node, inputs, value, attributes, constants)
            return
        raw = Value(f"{value.name}:unclipped", value.kind, *value.shape, scale=value.scale, zero_point=value.zero_point)
        self.emit(kind, node, inputs, raw, attributes, constants)
        codes = np.arange(256, dtype=np.uint8)
        signed = codes.view(np.int8).astype(np.int64) if value.kind == "i8" else codes.astype(np.int64)
        clipped = np.clip(signed, target.low, target.high).astype(np.uint8)
        self.emit("lut", node, (raw.name,), value, {"function": "clip"}, {"table": clipped})

    def quantisation(self, node: NodeProto) -> tuple[float, int, str]:
        """(scale, zero point, kind) of a per-tensor QuantizeLinear or DequantizeLinear."""
        scale = self.constants.get(node.input[1])
        if scale is None or scale.size != 1:
            raise refuse(node, "an activation's scale must be one constant", ("one scale a tensor",))
        zero = self.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros((), np.uint8)
        if zero is None or zero.dtype not in (np.uint8, np.int8):
            raise refuse(node, "an activation's zero point must be a constant uint8 or int8", ("uint8",))
        return float(scale.reshape(())), int(zero.reshape(())), "u8" if zero.dtype == np.uint8 else "i8"


def label(node: NodeProto) -> str:
    """How messages and manifests name a node."""
    return node.name or node.output[0]


def refuse(node: NodeProto, why: str, nearest: tuple[str, ...] = (), hint: str | None = None) -> HwnasError:
    """The error for a node that no kernel covers."""
    return HwnasError(f"node {label(node)!r} ({node.op_type}): {why}", nearest=nearest, hint=hint)


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """The attribute's Python value, or the default where it is absent."""
    from onnx import helper

    for item in node.attribute:
        if item.name == name:
            found = helper.get_attribute_value(item)
            return tuple(found) if isinstance(found, list) else found
    return default


def clip_bounds(reader: Reader, node: NodeProto) -> tuple[float, float]:
    """(low, high) of a Clip node; infinite where absent."""
    low, high = reader.optional_constant(node, 1), reader.optional_constant(node, 2)
    return (-np.inf if low is None else float(low), np.inf if high is None else float(high))


def window(node: NodeProto, kernel: tuple[int, int], value: Value) -> tuple[dict[str, object], int, int]:
    """(a sliding window's attributes with pads as top, left, bottom, right; output height; output width)."""
    strides = attribute(node, "strides", (1, 1))
    dilations = attribute(node, "dilations", (1, 1))
    pads = attribute(node, "pads", (0, 0, 0, 0))
    if attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise refuse(node, "automatic padding", ("explicit pads",))
    if attribute(node, "ceil_mode", 0):
        raise refuse(node, "ceil_mode=1", ("ceil_mode=0",))
    if len(kernel) != 2 or len(strides) != 2 or len(pads) != 4:
        raise refuse(node, f"a window of {len(kernel)} dimensions", ("2 dimensions",))
    height = (value.height + pads[0] + pads[2] - dilations[0] * (kernel[0] - 1) - 1) // strides[0] + 1
    width = (value.width + pads[1] + pads[3] - dilations[1] * (kernel[1] - 1) - 1) // strides[1] + 1
    if height < 1 or width < 1:
        raise refuse(node, f"window {kernel} does not fit in {value.height} x {value.width}")
    found = {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    return {key: tuple(int(v) for v in item) for key, item in found.items()}, height, width
