"""The state of reading one ONNX model: constants, what each tensor is so far, and the steps emitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.ir import Step, Value

if TYPE_CHECKING:
    from onnx import NodeProto


@dataclass(frozen=True)
class Tensor:
    """What an ONNX tensor name stands for: a value, seen as real numbers or as integers.

    form: "real" (an f32 value), "integer" (the output of QuantizeLinear) or "dequantised" (the same integers
    after DequantizeLinear, not computed until some step needs floats). `shape` is ONNX's: [1, C, H, W], or [1, N]
    of a vector or of a flattened image.
    """

    value: str
    form: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Quantised:
    """A constant seen through DequantizeLinear: integers, float32 scales (one, or one a channel) and zero point."""

    integers: np.ndarray
    scale: np.ndarray
    zero_point: int
    axis: int

    def scales(self) -> np.ndarray:
        """One float32 scale for every integer."""
        shape = [1] * self.integers.ndim
        if self.scale.size > 1:
            shape[self.axis] = self.scale.size
        return np.broadcast_to(self.scale.reshape(shape), self.integers.shape)

    def real(self) -> np.ndarray:
        centred = (self.integers.astype(np.int64) - self.zero_point).astype(np.float32)
        return (centred * self.scales()).astype(np.float32)


@dataclass
class Reader:
    """Accumulates values and steps while nodes are read in order."""

    constants: dict[str, np.ndarray]
    consumers: dict[str, list[NodeProto]]
    output_name: str
    #: what ONNX infers of every tensor's shape; None where it does not know a size
    shapes: Mapping[str, tuple[int | None, ...]]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    quantised_constants: dict[str, Quantised] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    absorbed: set[str] = field(default_factory=set)
    real_of: dict[str, str] = field(default_factory=dict)

    def add_value(self, value: Value) -> Value:
        if value.name in self.values:
            raise HwnasError(f"two tensors would be named {value.name!r}", hint="rename the model's tensors")
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

    def define(self, node: NodeProto, name: str, tensor: Tensor) -> None:
        """Says what the tensor `name`, which `node` makes, stands for; its shape must be the one ONNX infers."""
        known = self.shapes.get(name)
        fits = known is None or (
            len(known) == len(tensor.shape)
            and all(size in (None, mine) for size, mine in zip(known, tensor.shape, strict=True))
        )
        if not fits:
            raise refuse(node, f"{name} has shape {list(tensor.shape)}, the model says {list(known or ())}")
        self.tensors[name] = tensor

    def set_real(self, node: NodeProto, value: Value, rank: int) -> None:
        """The node's output is the float `value`, seen with `rank` dimensions."""
        self.define(node, node.output[0], Tensor(value.name, "real", shape_of(value, rank)))

    def is_constant(self, name: str) -> bool:
        return name in self.constants or name in self.quantised_constants

    def constant(self, node: NodeProto, index: int, dtype: type = np.float32) -> np.ndarray:
        """The constant input `index`, dequantised if need be; it must hold numbers of `dtype`."""
        name = node.input[index] if index < len(node.input) else ""
        if name in self.quantised_constants:
            found = self.quantised_constants[name].real()
        elif name in self.constants:
            found = self.constants[name]
        else:
            raise refuse(
                node, f"its input {index} ({name}) must be a constant", (f"{node.op_type} with an initializer",)
            )
        if found.dtype != dtype:
            raise refuse(node, f"its input {index} ({name}) holds {found.dtype}", (np.dtype(dtype).name,))
        return found

    def optional_constant(self, node: NodeProto, index: int, dtype: type = np.float32) -> np.ndarray | None:
        if len(node.input) <= index or not node.input[index]:
            return None
        return self.constant(node, index, dtype)

    def tensor(self, node: NodeProto, index: int) -> Tensor:
        name = node.input[index]
        if name not in self.tensors:
            raise refuse(node, f"its input {index} ({name}) must be an activation", ("an activation and a constant",))
        return self.tensors[name]

    def value(self, node: NodeProto, index: int) -> Value:
        return self.values[self.tensor(node, index).value]

    def is_view(self, tensor: Tensor) -> bool:
        """Whether it is a flattened image: its numbers do not lie in memory in ONNX's order."""
        return len(tensor.shape) == 2 and self.values[tensor.value].pixels > 1

    def image(self, node: NodeProto, index: int) -> Value:
        """Input `index`, which must be an image [1, C, H, W]."""
        tensor = self.tensor(node, index)
        if len(tensor.shape) != 4:
            raise refuse(node, f"its input {index} has shape {list(tensor.shape)}", ("[1, C, H, W]",))
        return self.values[tensor.value]

    def whole(self, node: NodeProto, index: int) -> Value:
        """Input `index`, which must be an image or a vector, not a flattened image."""
        tensor = self.tensor(node, index)
        if self.is_view(tensor):
            raise refuse(node, f"its input {index} is a flattened image", ("the image before Flatten", "a vector"))
        return self.values[tensor.value]

    def is_quantised(self, node: NodeProto, index: int) -> bool:
        tensor = self.tensors.get(node.input[index])
        return tensor is not None and tensor.form == "dequantised"

    def real(self, node: NodeProto, index: int, padded: bool = False) -> Value:
        """Input `index` as a float nhwc value: dequantises or transposes once, on first need.

        A vector lies the same in both layouts; only where a window reads a halo around it (`padded`) is the model's
        own input, whose memory is the caller's, copied.
        """
        tensor = self.tensor(node, index)
        value = self.values[tensor.value]
        if tensor.form == "integer":
            raise refuse(
                node, f"its input {index} holds integers, it must hold floats", ("DequantizeLinear before it",)
            )
        if tensor.form == "real" and (value.layout == "nhwc" or (value.pixels == 1 and not padded)):
            return value
        if value.name not in self.real_of:
            kind = "to_nhwc" if tensor.form == "real" else "dequantize"
            output = Value(f"{value.name}:real", "f32", value.height, value.width, value.channels)
            self.emit(kind, node, (value.name,), output)
            self.real_of[value.name] = output.name
        return self.values[self.real_of[value.name]]


def shape_of(value: Value, rank: int) -> tuple[int, ...]:
    """ONNX's shape of a value: [1, C, H, W], or [1, C * H * W]."""
    if rank == 4:
        return (1, value.channels, value.height, value.width)
    return (1, value.pixels * value.channels)


def label(node: NodeProto) -> str:
    """How messages and manifests name a node."""
    return node.name or node.output[0]


def refuse(node: NodeProto, why: str, nearest: tuple[str, ...] = (), hint: str | None = None) -> HwnasError:
    """The error for a node that no kernel covers."""
    # names of tensors may hold anything, line ends too
    return HwnasError(f"node {label(node)!r} ({node.op_type}): {' '.join(why.split())}", nearest=nearest, hint=hint)


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
    found = []
    for index, absent in ((1, -np.inf), (2, np.inf)):
        bound = reader.optional_constant(node, index)
        if bound is not None and (bound.size != 1 or np.isnan(bound).any()):
            raise refuse(node, f"a bound of shape {list(bound.shape)} that is not one number", ("a scalar",))
        found.append(absent if bound is None else float(bound.reshape(())))
    return found[0], found[1]


def channel_vector(reader: Reader, node: NodeProto, constant: np.ndarray, tensor: Tensor) -> np.ndarray:
    """`constant` as one number a channel [C], by numpy's rules for its broadcast to the tensor's shape.

    Refuses one that makes the result larger than the tensor, or that differs between the pixels of a channel.
    """
    value, shape = reader.values[tensor.value], tensor.shape
    aligned = (1,) * (len(shape) - constant.ndim) + constant.shape
    fits = len(aligned) == len(shape) and all(a in (1, b) for a, b in zip(aligned, shape, strict=True))
    if not fits or (constant.size > 1 and (constant.size != value.channels or aligned[1] != value.channels)):
        nearest = ("[1, C]" if len(shape) == 2 else "[1, C, 1, 1]", "a scalar")
        raise refuse(node, f"a constant of shape {list(constant.shape)} over {list(shape)}", nearest)
    return np.ascontiguousarray(np.broadcast_to(constant.reshape(-1), (value.channels,)))
