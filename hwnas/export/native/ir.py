"""What the native compiler works on: values with a layout, and the steps that make them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from hwnas.export.native.ends import End

ELEMENT_BYTES = {"f32": 4, "u8": 1, "i8": 1, "bits": 4, "i32": 4, "i64": 8}
#: how numpy and the kernels name the elements of each kind
ELEMENT_TYPES = {"f32": "float32", "u8": "uint8", "i8": "int8", "bits": "uint32", "i32": "int32", "i64": "int64"}
#: the kind of what an ONNX model's inputs hold
KIND_OF_TYPE = {"float32": "f32", "uint8": "u8", "int8": "i8", "int32": "i32", "int64": "i64"}
Extent = tuple[int, int, int]


@dataclass(frozen=True)
class Value:
    """One tensor of any rank from 1 to 6; `shape` is ONNX's.

    `kind` is f32, u8, i8 (codes with a scale), i32, i64 (whole numbers) or bits (uint32 words along channels).
    `layout` is "nhwc" or "plain". An nhwc value is an image [1, C, H, W] with its channels together, whose buffer may
    have a halo and more stored channels than it uses; a vector is an image of one pixel. A plain value lies dense in
    ONNX's own order: the model's inputs and outputs, and all tensors that are no images.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    layout: str = "nhwc"
    scale: float = 1.0
    zero_point: int = 0
    #: bits only: the sign that stands in the halo (-1 or +1); exact zero keeps -1 and the kernel corrects it
    pad_sign: int = -1
    #: the plain value whose memory this is under another shape; empty where it has memory of its own
    of: str = ""

    @property
    def is_image(self) -> bool:
        """Whether the shape is [1, C, H, W]."""
        return len(self.shape) == 4 and self.shape[0] == 1

    @property
    def extent(self) -> Extent:
        """(height, width, channels) of the image; of another shape (1, rows, last size), as it lies in memory."""
        if self.is_image:
            return (self.shape[2], self.shape[3], self.shape[1])
        return (1, math.prod(self.shape[:-1]), self.shape[-1])

    @property
    def height(self) -> int:
        return self.extent[0]

    @property
    def width(self) -> int:
        return self.extent[1]

    @property
    def channels(self) -> int:
        return self.extent[2]

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def codes(self) -> tuple[float, int, str]:
        """(scale, zero point, kind): what its integers mean."""
        return (self.scale, self.zero_point, self.kind)

    @property
    def is_vector(self) -> bool:
        """Whether it is [1, C] or [1, C, 1, 1]: it lies the same in both layouts."""
        return self.pixels == 1 and (self.is_image or len(self.shape) == 2)

    def may_be(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of ONNX's `shape` may be seen over this value: every reader finds its numbers by the value's
        own shape and layout.

        Its own shape; of an image [1, C, H, W] also its flattening [1, C * H * W] and, of one row, the sequence
        [1, C, W]; of a vector [1, C] also [1, C, 1, 1].
        """
        if shape == self.shape:
            return True
        if not self.is_image:
            return self.is_vector and shape == (*self.shape, 1, 1)
        flat = (1, self.pixels * self.channels)
        return shape == flat or (self.height == 1 and shape == (1, self.channels, self.width))

    def like(self, name: str, kind: str, scale: float = 1.0, zero_point: int = 0) -> Value:
        """Another value of this shape and layout; a vector's is nhwc, so that what reads it may ask for a halo."""
        if self.is_vector:
            return replace(image(name, kind, *self.extent), scale=scale, zero_point=zero_point)
        return Value(name, kind, self.shape, self.layout, scale, zero_point)

    def nhwc(self, name: str, kind: str, scale: float = 1.0, zero_point: int = 0) -> Value:
        """Another value of this image, with its channels together."""
        return replace(image(name, kind, *self.extent), scale=scale, zero_point=zero_point)


def image(name: str, kind: str, height: int, width: int, channels: int) -> Value:
    """An nhwc value."""
    return Value(name, kind, (1, channels, height, width))


def plain(name: str, kind: str, shape: tuple[int, ...], scale: float = 1.0, zero_point: int = 0) -> Value:
    """A value in ONNX's own order."""
    return Value(name, kind, shape, "plain", scale, zero_point)


@dataclass(frozen=True)
class Step:
    """One operation: `kind` names it, `node` is the ONNX node that it came from (for error messages)."""

    kind: str
    node: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)

    def integer(self, key: str) -> int:
        value = self.attributes[key]
        assert isinstance(value, int)
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        value = self.attributes[key]
        assert isinstance(value, tuple)
        return value

    def text(self, key: str) -> str:
        value = self.attributes.get(key, "")
        assert isinstance(value, str)
        return value

    def joined(self, user: Step, inputs: tuple[str, ...] | None = None, **attributes: object) -> Step:
        """This step with what `user` gives, one of its readers: the result of a fusion."""
        return replace(
            self, inputs=inputs or self.inputs, outputs=user.outputs, attributes={**self.attributes, **attributes}
        )


@dataclass(frozen=True)
class Graph:
    """Steps in running order; `values` holds every tensor that a step reads or writes."""

    values: Mapping[str, Value]
    steps: tuple[Step, ...]
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    #: node -> why an integer kernel did not take it between its DequantizeLinear and QuantizeLinear
    declined: Mapping[str, str] = field(default_factory=dict)

    @property
    def ends(self) -> frozenset[str]:
        """The values that lie in the caller's memory."""
        return frozenset(end.value for end in (*self.inputs, *self.outputs))

    def consumers(self, name: str) -> list[Step]:
        return [step for step in self.steps if name in step.inputs]

    def root(self, name: str) -> str:
        """The value whose memory `name` is."""
        return self.values[name].of or name
