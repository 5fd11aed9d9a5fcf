"""A whole model as a list of kernel calls over one arena and one block of constants."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.ir import Graph, Value
from hwnas.export.native.layout import buffer_bytes
from hwnas.export.native.lower import KernelCall
from hwnas.export.native.planner import Lifetime, Plan, plan, round_up

if TYPE_CHECKING:
    from hwnas.kernels.image import Image

#: kernels may load whole vectors past a tensor's last element; the arena and the constants end with this many bytes
SLACK = 64


@dataclass(frozen=True)
class Fill:
    """A halo to fill before a step writes the interior: sizes in bytes; `pattern` is one pixel, repeated."""

    offset: int
    rows: int
    interior: int
    top: int
    bottom: int
    left: int
    right: int
    pattern: bytes


@dataclass(frozen=True)
class Call:
    """One step: halos to fill, then `symbol(pointers...)`; pointers are in, out, arena+n or constants+n."""

    kind: str
    node: str
    symbol: str
    fills: tuple[Fill, ...]
    pointers: tuple[tuple[str, int], ...]
    macs: int


@dataclass(frozen=True)
class Program:
    """Everything the C writer needs."""

    calls: tuple[Call, ...]
    constants: bytes
    plan: Plan
    arena_bytes: int
    alignment: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_type: str = "float32"
    output_type: str = "float32"
    #: one code of the output where it is dequantised, else 0
    output_step: float = 0.0
    #: how images become the input (export/recipe.py), where the model says so
    preprocess: Mapping[str, Any] | None = None

    @property
    def input_bytes(self) -> int:
        return math.prod(self.input_shape) * np.dtype(self.input_type).itemsize

    @property
    def output_bytes(self) -> int:
        return math.prod(self.output_shape) * np.dtype(self.output_type).itemsize


def assemble(graph: Graph, calls: Sequence[KernelCall], images: Mapping[str, Image], alignment: int) -> Program:
    """Places values and constants and resolves every pointer."""
    placed = plan(_lifetimes(graph, calls, images), alignment)
    constants, offsets = _constants(calls, alignment)
    program_calls = []
    for call in calls:
        pointers = [_pointer(graph, placed, name) for name in call.early_inputs]
        pointers += [("constants", offsets[_digest(constant)]) for constant in call.constants]
        pointers += [_pointer(graph, placed, name) for name in (*call.late_inputs, *call.outputs)]
        fills = tuple(
            fill
            for name in call.outputs
            if (fill := _fill(graph.values[name], images[name], placed.offsets.get(name, 0))) is not None
        )
        program_calls.append(Call(call.kind, call.node, call.symbol, fills, tuple(pointers), call.macs))
    arena = round_up(placed.arena_bytes + SLACK, alignment)
    last = calls[-1]
    step = abs(graph.values[last.inputs[0]].scale) if last.kind == "dequantize" else 0.0
    shapes = (graph.input_shape, graph.output_shape, graph.input_type)
    return Program(tuple(program_calls), constants, placed, arena, alignment, *shapes, output_step=step)


def _lifetimes(graph: Graph, calls: Sequence[KernelCall], images: Mapping[str, Image]) -> list[Lifetime]:
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for index, call in enumerate(calls):
        for name in (*call.inputs, *call.outputs):
            if name not in (graph.input, graph.output):
                first.setdefault(name, index)
                last[name] = index
    sizes = {name: buffer_bytes(graph.values[name], images[name]) for name in first}
    return [Lifetime(name, sizes[name], first[name], last[name]) for name in first]


def _pointer(graph: Graph, placed: Plan, name: str) -> tuple[str, int]:
    if name == graph.input:
        return ("input", 0)
    if name == graph.output:
        return ("output", 0)
    return ("arena", placed.offsets[name])


def _digest(constant: np.ndarray) -> str:
    return hashlib.sha256(constant.tobytes()).hexdigest()


def _constants(calls: Sequence[KernelCall], alignment: int) -> tuple[bytes, dict[str, int]]:
    """All constants in one block, equal ones once, each aligned."""
    parts: list[bytes] = []
    offsets: dict[str, int] = {}
    position = 0
    for call in calls:
        for constant in call.constants:
            digest = _digest(constant)
            if digest in offsets:
                continue
            offsets[digest] = position
            data = constant.tobytes()
            padded = data + bytes(round_up(len(data), alignment) - len(data))
            parts.append(padded)
            position += len(padded)
    return b"".join(parts) + bytes(SLACK), offsets


def _fill(value: Value, image: Image, offset: int) -> Fill | None:
    top, bottom, left, right = image.halo
    if not any(image.halo):
        return None
    if value.kind == "f32":
        pattern = bytes(4)
    elif value.kind == "bits":
        pattern = _bits_pattern(value, image)
    else:
        pattern = bytes([value.zero_point & 0xFF])
    unit = {"f32": 4, "bits": 4}.get(value.kind, 1)
    pixel, row = image.pixel * unit, image.row * unit
    return Fill(
        offset, image.height, image.width * pixel, top * row, bottom * row, left * pixel, right * pixel, pattern
    )


def _bits_pattern(value: Value, image: Image) -> bytes:
    """One pixel of pad symbols: the sign -1 is bit 0, +1 is bit 1; bits beyond the channels stay 0."""
    if value.pad_sign < 0:
        return bytes(4)
    bits = np.zeros(image.pixel * 32, np.uint8)
    bits[: value.channels] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def kernel_sources(calls: Sequence[KernelCall]) -> dict[str, KernelCall]:
    """One call for every symbol; the same symbol always names the same kernel."""
    found: dict[str, KernelCall] = {}
    for call in calls:
        found.setdefault(call.symbol, call)
    if not found:
        raise HwnasError("the model needs no kernel", hint="its output is its input")
    return found
