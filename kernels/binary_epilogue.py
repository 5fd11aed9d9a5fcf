"""From bit counts to what a 1-bit layer gives: integers, floats after BN, activation and residual, packed bits."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from hwnas.kernels.binary_spec import BinaryConv
from hwnas.kernels.builder import KernelBuilder, Memory, Value, cast, const, mask_bits, rounded


@dataclass(frozen=True)
class EpilogueMemory:
    """The constants and images an epilogue reads and writes; None where the layer has none."""

    offsets: Memory | None = None
    bases: Memory | None = None
    scale: Memory | None = None
    bias: Memory | None = None
    slope: Memory | None = None
    shift_in: Memory | None = None
    shift_out: Memory | None = None
    threshold: Memory | None = None
    residual: Memory | None = None
    y: Memory | None = None
    bits: Memory | None = None


@dataclass(frozen=True)
class Pixel:
    """Where one output pixel's channels begin: in y, the residual, the packed bits (in words), the bases table."""

    y: Value
    residual: Value
    bits: Value
    base: Value


def apply(
    k: KernelBuilder, spec: BinaryConv, memory: EpilogueMemory, pixel: Pixel, channel: Value, count: Value
) -> Value | None:
    """Emit the epilogue for the lanes of `count`, channels from `channel` on; returns their booleans to be packed."""
    lanes = int(count.ty.dtype.lanes)
    if spec.output == "bits":
        assert memory.bases is not None
        return count <= memory.bases.load(pixel.base + channel, lanes)
    base = const(spec.dot_length, "int32", lanes)
    if memory.bases is not None:
        base = memory.bases.load(pixel.base + channel, lanes)
    count = k.let(count)
    dot = base - (count + count)
    assert memory.y is not None
    if spec.output == "int32":
        memory.y.store(pixel.y + channel, dot)
        return None
    value = k.let(_float_value(k, spec, memory, pixel, channel, dot, lanes))
    memory.y.store(pixel.y + channel, value)
    if spec.output == "float":
        return None
    assert memory.threshold is not None
    return value >= memory.threshold.load(channel, lanes)


def _float_value(
    k: KernelBuilder, spec: BinaryConv, memory: EpilogueMemory, pixel: Pixel, channel: Value, dot: Value, lanes: int
) -> Value:
    assert memory.scale is not None and memory.bias is not None
    value = rounded(cast(dot, "float32") * memory.scale.load(channel, lanes)) + memory.bias.load(channel, lanes)
    if memory.residual is not None and spec.residual_first:
        value = value + memory.residual.load(pixel.residual + channel, lanes)
    if spec.activation == "rprelu":
        assert memory.shift_in is not None
        value = value - memory.shift_in.load(channel, lanes)
    if spec.activation != "none":
        assert memory.slope is not None
        value = k.let(value)
        negative = rounded(value * memory.slope.load(channel, lanes))
        value = tirx.Select(value >= const(0.0, "float32", lanes), value, negative)
    if spec.activation == "rprelu":
        assert memory.shift_out is not None
        value = value + memory.shift_out.load(channel, lanes)
    if memory.residual is not None and not spec.residual_first:
        value = value + memory.residual.load(pixel.residual + channel, lanes)
    return value


class BitCollector:
    """Gathers one pixel's booleans of consecutive channels and stores them in the widest chunks they fill."""

    def __init__(self, k: KernelBuilder, bits: Memory, unit: int) -> None:
        self._k, self._bits, self._unit = k, bits, unit
        self._pending: list[tuple[int, int, Value]] = []

    def add(self, position: int, condition: Value) -> None:
        """Booleans of the channels from `position` (within the tile) on."""
        lanes = int(condition.ty.dtype.lanes)
        if lanes > self._unit:
            raise AssertionError("a vector of booleans must fit one stored chunk")
        self._pending.append((position, lanes, self._k.let(cast(mask_bits(condition), f"uint{self._unit}"))))

    def store(self, offset: Value, channels: int) -> None:
        """Store `channels` bits (rounded up to whole chunks, missing ones 0) from chunk `offset` on."""
        unit = self._unit
        for chunk in range(-(-channels // unit)):
            whole: Value = None
            for position, _, value in self._pending:
                if position // unit != chunk:
                    continue
                shift = position % unit
                part = value << const(shift, f"uint{unit}") if shift else value
                whole = part if whole is None else whole | part
            self._bits.store(offset + chunk, const(0, f"uint{unit}") if whole is None else whole)
