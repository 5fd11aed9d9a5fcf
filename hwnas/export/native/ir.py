"""What the native compiler works on: values with a layout, and the steps that make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

ELEMENT_BYTES = {"f32": 4, "u8": 1, "i8": 1, "bits": 4, "i32": 4}
#: how numpy and the kernels name the elements of each kind
ELEMENT_TYPES = {"f32": "float32", "u8": "uint8", "i8": "int8", "bits": "uint32", "i32": "int32"}


@dataclass(frozen=True)
class Value:
    """One tensor of batch 1.

    `kind` is f32, u8, i8, i32 (scratch sums) or bits (uint32 words along channels). `layout` is nhwc everywhere except
    for the model's own float input and output, which are nchw. A vector [1, C] has height = width = 1.
    """

    name: str
    kind: str
    height: int
    width: int
    channels: int
    layout: str = "nhwc"
    scale: float = 1.0
    zero_point: int = 0
    #: bits only: the sign that stands in the halo (-1 or +1); exact zero keeps -1 and the kernel corrects it
    pad_sign: int = -1

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return (self.height, self.width, self.channels)


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

    def with_attributes(self, **changes: object) -> Step:
        return replace(self, attributes={**self.attributes, **changes})


@dataclass(frozen=True)
class Graph:
    """Steps in running order; `values` holds every tensor that a step reads or writes."""

    values: Mapping[str, Value]
    steps: tuple[Step, ...]
    input: str
    output: str
    output_shape: tuple[int, ...]
    input_shape: tuple[int, ...]

    @property
    def input_type(self) -> str:
        """The element type of the model's input, as numpy names it: raw pixels are uint8."""
        return "uint8" if self.values[self.input].kind == "u8" else "float32"

    def consumers(self, name: str) -> list[Step]:
        return [step for step in self.steps if name in step.inputs]

    def producer(self, name: str) -> Step | None:
        return next((step for step in self.steps if name in step.outputs), None)
