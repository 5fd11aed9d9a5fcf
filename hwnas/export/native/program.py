"""A whole model as a list of kernel calls over one arena and one block of constants."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.ends import End, are_several, block_bytes, laid_out
from hwnas.export.native.ir import ELEMENT_BYTES, Graph, Value
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
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    #: how images become the input (export/recipe.py), where the model says so
    preprocess: Mapping[str, Any] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the first input, as the next properties are."""
        return self.inputs[0].shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.outputs[0].shape

    @property
    def input_type(self) -> str:
        return self.inputs[0].type

    @property
    def output_type(self) -> str:
        return self.outputs[0].type

    @property
    def input_bytes(self) -> int:
        """Of the block that holds all inputs."""
        return block_bytes(self.inputs)

    @property
    def output_bytes(self) -> int:
        """Of the block that holds all outputs."""
        return block_bytes(self.outputs)

    @property
    def several(self) -> bool:
        """Whether there is more than one input and one output [1, ..]."""
        return are_several(self.inputs, self.outputs)


def assemble(graph: Graph, calls: Sequence[KernelCall], images: Mapping[str, Image], alignment: int) -> Program:
    """Places values and constants and resolves every pointer."""
    placed = plan(_lifetimes(graph, calls, images), alignment)
    constants, offsets = _constants(calls, alignment)
    inputs, outputs = laid_out(graph.inputs, alignment), laid_out(graph.outputs, alignment)
    places = {end.value: ("input", end.offset) for end in inputs}
    places |= {end.value: ("output", end.offset) for end in outputs}
    places |= {name: ("arena", offset) for name, offset in placed.offsets.items()}
    program_calls = []
    for call in calls:
        pointers = [places[graph.root(name)] for name in call.early_inputs]
        pointers += [("constants", offsets[_digest(constant)]) for constant in call.constants]
        pointers += [places[graph.root(name)] for name in (*call.late_inputs, *call.outputs)]
        fills = tuple(
            fill
            for name in call.outputs
            if (fill := _fill(graph.values[name], images[name], placed.offsets.get(name, 0))) is not None
        )
        program_calls.append(Call(call.kind, call.node, call.symbol, fills, tuple(pointers), call.macs))
    arena = round_up(placed.arena_bytes + SLACK, alignment)
    return Program(tuple(program_calls), constants, placed, arena, alignment, inputs, outputs)


def _lifetimes(graph: Graph, calls: Sequence[KernelCall], images: Mapping[str, Image]) -> list[Lifetime]:
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for index, call in enumerate(calls):
        for name in map(graph.root, (*call.inputs, *call.outputs)):
            if name not in graph.ends:
                first.setdefault(name, index)
                last[name] = index
    sizes = {name: buffer_bytes(graph.values[name], images[name]) for name in first}
    return [Lifetime(name, sizes[name], first[name], last[name]) for name in first]


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
    unit = ELEMENT_BYTES[value.kind]
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
