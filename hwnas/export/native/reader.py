"""The state of reading one ONNX model: constants, what each tensor is so far, and the steps emitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.ir import Step, Value, image, plain

if TYPE_CHECKING:
    from onnx import NodeProto


@dataclass(frozen=True)
class Tensor:
    """What an ONNX tensor name stands for: a value, seen as real numbers or as integers.

    form: "real" (an f32 value), "integer" (8-bit codes: the output of QuantizeLinear, or such an input), "dequantised"
    (the same codes after DequantizeLinear, not computed until some step needs floats), "whole" (int32 or int64, such as
    tokens) or "pixels". `shape` is ONNX's; the value's own is the same but for a vector [1, N] and a flattened image,
    which are seen over an image.
    """

    value: str
    form: str
    shape: tuple[int, ...]


#: what a tensor of each form may be a value of; pixels are seen in their own order alone
KINDS_OF_FORM = {
    "real": ("f32",),
    "integer": ("u8", "i8"),
    "dequantised": ("u8", "i8"),
    "whole": ("i32", "i64"),
    "pixels": (),
}


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
    output_names: frozenset[str]
    #: what ONNX infers of every tensor's shape; None where it does not know a size
    shapes: Mapping[str, tuple[int | None, ...]]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    quantised_constants: dict[str, Quantised] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    absorbed: set[str] = field(default_factory=set)
    #: (what was made of a value, its name) -> the value that was made, so that each is made once
    made: dict[tuple[str, str], str] = field(default_factory=dict)
    #: images that were made of a plain value, and that value: whoever reads it plain takes it as it was
    plain_of: dict[str, str] = field(default_factory=dict)
    #: values of an 8-bit input's codes, moved or seen under another shape, that no DequantizeLinear has given a scale
    #: yet -> the input
    unread_codes: dict[str, str] = field(default_factory=dict)
    #: whole-number values -> what they must be below: places in a table
    limits: dict[str, int] = field(default_factory=dict)
    #: node -> why its integer fusion does not apply
    declined: dict[str, str] = field(default_factory=dict)

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
        if inputs and inputs[0] in self.unread_codes and output.codes == self.values[inputs[0]].codes:
            self.unread_codes[output.name] = self.unread_codes[inputs[0]]
        self.steps.append(Step(kind, label(node), inputs, (output.name,), attributes or {}, constants or {}))

    def mean(self, value: Value, scale: float, zero_point: int) -> Value:
        """Codes of the model's own input mean what their first DequantizeLinear says, however they came there."""
        root = self.unread_codes.get(value.name)
        for name in [name for name, of in self.unread_codes.items() if of == root]:
            del self.unread_codes[name]
            self.values[name] = replace(self.values[name], scale=scale, zero_point=zero_point)
        return self.values[value.name]

    def define(self, node: NodeProto, name: str, tensor: Tensor) -> None:
        """Says what the tensor `name`, which `node` makes, stands for; its shape must be the one ONNX infers."""
        known = self.shapes.get(name)
        if known is not None and len(known) == 3 and len(tensor.shape) == 4 and tensor.shape[2] == 1:
            # a sequence whose windows were read as those of an image of one row
            tensor = replace(tensor, shape=(*tensor.shape[:2], tensor.shape[3]))
        fits = known is None or (
            len(known) == len(tensor.shape)
            and all(size in (None, mine) for size, mine in zip(known, tensor.shape, strict=True))
        )
        if not fits:
            raise refuse(node, f"{name} has shape {list(tensor.shape)}, the model says {list(known or ())}")
        self.see(node, name, tensor)

    def see(self, node: NodeProto, name: str, tensor: Tensor) -> None:
        """Gives a tensor a name of the reader's own; its value must be one that may be seen so."""
        value = self.values[tensor.value]
        if value.kind not in KINDS_OF_FORM[tensor.form] or not value.may_be(tensor.shape):
            made = f"{value.kind} {list(value.shape)}"
            raise refuse(
                node,
                f"{name} is {tensor.form} {list(tensor.shape)}, what was made of it is {made}",
                hint="this is an error in hwnas: please report it",
            )
        self.tensors[name] = tensor

    def keep(self, node: NodeProto, array: np.ndarray) -> None:
        """The node's output is a constant; its shape must be the one ONNX infers."""
        known = self.shapes.get(node.output[0])
        if known is not None and (
            len(known) != array.ndim or any(a not in (None, b) for a, b in zip(known, array.shape, strict=True))
        ):
            raise refuse(node, f"{node.output[0]} has shape {list(array.shape)}, the model says {list(known)}")
        self.constants[node.output[0]] = array

    def set_real(self, node: NodeProto, value: Value, rank: int) -> None:
        """The node's output is the float image `value`, seen with `rank` dimensions."""
        self.result(node, value, shape_of(value, rank))

    def result(self, node: NodeProto, value: Value, shape: tuple[int, ...] | None = None) -> None:
        """The node's output is `value`: floats, 8-bit codes or whole numbers, of its own shape or seen as `shape`."""
        form = {"f32": "real", "u8": "integer", "i8": "integer"}.get(value.kind, "whole")
        self.define(node, node.output[0], Tensor(value.name, form, shape or value.shape))

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
        value = self.values[tensor.value]
        return len(tensor.shape) == 2 and value.is_image and value.pixels > 1

    def image(self, node: NodeProto, index: int) -> Value:
        """Input `index`, which must be an image [1, C, H, W]."""
        tensor = self.tensor(node, index)
        if len(tensor.shape) != 4 or tensor.shape[0] != 1:
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
        """Input `index` as floats, an image with its channels together: dequantises or transposes once, on first need.

        A vector lies the same in both layouts; only where a window reads a halo around it (`padded`) is a plain one,
        whose memory may be the caller's, copied. What is no image stays as it lies.
        """
        value = self._floats(node, index)
        if value.layout == "nhwc" or not (padded or (value.is_image and value.pixels > 1)):
            return value
        return self._made("real", "to_nhwc", node, value, image(f"{value.name}:real", "f32", *value.extent))

    def plain(self, node: NodeProto, index: int) -> Value:
        """Input `index` as floats of any rank, dense in ONNX's order: its shape is the tensor's.

        Dequantises or transposes once, on first need.
        """
        tensor = self.tensor(node, index)
        value = self.values[tensor.value]
        if tensor.form == "real" and value.name in self.plain_of:
            value = self.values[self.plain_of[value.name]]
        elif value.layout == "nhwc":
            seen = plain(f"{value.name}:plain", "f32", value.shape)
            if tensor.form == "dequantised":
                value = self._made("plain", "dequantize", node, value, seen)
            else:
                value = self._made("plain", "to_nchw", node, self._floats(node, index), seen)
        else:
            value = self._floats(node, index)
        return self.seen_as(value, tensor.shape)

    def expanded(self, node: NodeProto, index: int, shape: tuple[int, ...]) -> Value:
        """Input `index` as floats broadcast to `shape`; an image with its channels together."""
        value = self.plain(node, index)
        if value.shape != shape:
            name = f"{value.name}:{'x'.join(map(str, shape))}-expanded"
            value = self._made(name, "expand", node, value, plain(name, "f32", shape))
        if not value.is_image:
            return value
        return self._made("real", "to_nhwc", node, value, image(f"{value.name}:real", "f32", *value.extent))

    def plain_codes(self, node: NodeProto, index: int) -> Value:
        """Input `index`, which is dequantised, as its 8-bit codes, dense in ONNX's order."""
        tensor = self.tensor(node, index)
        if tensor.form not in ("dequantised", "integer"):
            raise refuse(node, f"its input {index} holds no 8-bit codes", ("QuantizeLinear before it",))
        value = self.values[tensor.value]
        if value.name in self.plain_of:
            value = self.values[self.plain_of[value.name]]
        elif value.layout == "nhwc":
            seen = plain(f"{value.name}:plain-codes", value.kind, value.shape, value.scale, value.zero_point)
            value = self._made("codes", "to_plain", node, value, seen)
        return self.seen_as(value, tensor.shape)

    def image_codes(self, node: NodeProto, value: Value) -> Value:
        """The plain codes of an image with their channels together."""
        seen = value.nhwc(f"{value.name}:image", value.kind, value.scale, value.zero_point)
        return self._made("image", "to_image", node, value, seen)

    def whole_numbers(self, node: NodeProto, index: int) -> Value:
        """Input `index`, which must be an int32 or int64 activation such as tokens."""
        tensor = self.tensor(node, index)
        if tensor.form != "whole":
            raise refuse(node, f"its input {index} holds no whole numbers", ("int64", "int32"))
        return self.seen_as(self.values[tensor.value], tensor.shape)

    def limit(self, value: Value, below: int) -> None:
        """Whole numbers of `value` are places in a table of `below` rows: callers of the model are told."""
        root = value.of or value.name
        self.limits[root] = min(below, self.limits.get(root, below))

    def seen_as(self, value: Value, shape: tuple[int, ...]) -> Value:
        """A plain value under another shape of as many elements: the same memory."""
        if value.shape == shape:
            return value
        name = f"{value.of or value.name}:{'x'.join(map(str, shape))}"
        if name not in self.values:
            self.add_value(replace(value, name=name, shape=shape, of=value.of or value.name))
            if value.name in self.unread_codes:
                self.unread_codes[name] = self.unread_codes[value.name]
        return self.values[name]

    def _floats(self, node: NodeProto, index: int) -> Value:
        """Input `index` as floats that lie as its codes do."""
        tensor = self.tensor(node, index)
        value = self.values[tensor.value]
        if tensor.form == "real":
            return value
        if tensor.form == "dequantised":
            return self._made("real", "dequantize", node, value, value.like(f"{value.name}:real", "f32"))
        held = "integers" if tensor.form == "integer" else f"{tensor.form} numbers"
        raise refuse(node, f"its input {index} holds {held}, it must hold floats", ("DequantizeLinear before it",))

    def _made(self, what: str, kind: str, node: NodeProto, source: Value, value: Value) -> Value:
        """`value`, made of `source` by a step of this kind where it was not before."""
        key = (what, source.name)
        if key not in self.made:
            self.emit(kind, node, (source.name,), value)
            self.made[key] = value.name
            if kind == "to_image":
                self.plain_of[value.name] = source.name
        return self.values[self.made[key]]


def shape_of(value: Value, rank: int) -> tuple[int, ...]:
    """ONNX's shape of an image: [1, C, H, W], or [1, C * H * W]."""
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
        if found[-1] == -absent:
            raise refuse(node, f"a bound of {found[-1]} that lets no number through", ("a finite bound",))
    return found[0], found[1]


def broadcast_constant(reader: Reader, node: NodeProto, constant: np.ndarray, tensor: Tensor) -> np.ndarray:
    """`constant` broadcast by numpy's rules to the tensor: one number a channel [C] of an image or of the last axis of
    another tensor, or else one number an element, in the order in which the tensor's value lies.

    Refuses one that makes the result larger than the tensor, and over a flattened image one that is no scalar.
    """
    value, shape = reader.values[tensor.value], tensor.shape
    aligned = (1,) * (len(shape) - constant.ndim) + constant.shape
    if value.is_image and len(shape) == len(aligned) == 3:  # a sequence that lies as an image of one row
        aligned, shape = (*aligned[:2], 1, aligned[2]), value.shape
    fits = len(aligned) == len(shape) and all(a in (1, b) for a, b in zip(aligned, shape, strict=True))
    if not fits or (constant.size > 1 and reader.is_view(tensor)):
        nearest = ("[1, C]" if len(shape) == 2 else "[1, C, 1, 1]", "a scalar")
        raise refuse(node, f"a constant of shape {list(constant.shape)} over {list(shape)}", nearest)
    axis = 1 if len(shape) in (2, 4) and shape[0] == 1 else len(shape) - 1
    if constant.size == 1 or (constant.size == shape[axis] and aligned[axis] == constant.size):
        return np.ascontiguousarray(np.broadcast_to(constant.reshape(-1), (value.channels,)))
    whole = np.broadcast_to(constant.reshape(aligned), shape)
    return np.ascontiguousarray(whole.transpose(0, 2, 3, 1) if value.is_image else whole)


def channel_vector(reader: Reader, node: NodeProto, constant: np.ndarray, tensor: Tensor) -> np.ndarray:
    """The same, which must be one number a channel [C]."""
    found = broadcast_constant(reader, node, constant, tensor)
    if found.ndim > 1:
        nearest = ("[1, C]" if len(tensor.shape) == 2 else "[1, C, 1, 1]", "a scalar")
        raise refuse(node, f"a constant of shape {list(constant.shape)} over {list(tensor.shape)}", nearest)
    return found
