"""Depthwise convolution by VPDPBUSD: four kernel rows of one channel are the four bytes of a lane.

For one input column, the vectors of rows r..r+3 are interleaved byte by byte into "quads"; a quad serves every kernel
column that meets this input column. Channels are cut into chunks of 64 (four quads by unpacks, accumulators interleaved
as `x86_narrow.narrow` undoes it), 32 and 16 (one byte permutation a quad); the last chunk may overlap the one before.
Needs at least 16 channels. Weights: [chunk][row quad][kernel column][quad][16 lanes][4 rows].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.kernels.builder import KernelBuilder, Memory, Register, Value, cast, const, intrinsic, reinterpret, shuffle
from hwnas.kernels.direct_conv import cover
from hwnas.kernels.image import Image, Window
from hwnas.kernels.store import store_first
from hwnas.kernels.x86_narrow import narrow

SMALLEST = 16


@dataclass(frozen=True)
class Chunks:
    """`count` adjacent chunks of `width` channels from channel `first`; `offset` counts quads before them."""

    first: int
    count: int
    width: int
    offset: int

    @property
    def quads(self) -> int:
        return self.width // 16


def chunks(channels: int) -> list[Chunks]:
    """A cover of all channels; only the last chunk may repeat channels."""
    found: list[Chunks] = []
    done = offset = 0
    while done < channels:
        left = channels - done
        width = 64 if left > 48 and channels >= 64 else 32 if left > 16 and channels >= 32 else 16
        count = max(1, left // 64) if width == 64 else 1
        first = done if left >= width else channels - width
        found.append(Chunks(first, count, width, offset))
        offset += count * width // 16
        done = first + count * width
    return found


def lane_channels(channels: int) -> np.ndarray:
    """The channel of every lane of every quad, in the order in which weights, bias and scale lie."""
    order = []
    lanes = np.arange(16)
    for piece in chunks(channels):
        for chunk in range(piece.count):
            start = piece.first + chunk * piece.width
            for quad in range(piece.quads):
                within = 16 * (lanes // 4) + 4 * quad + lanes % 4 if piece.width == 64 else 16 * quad + lanes
                order.append(start + within)
    return np.concatenate(order)


def pack_weights(weight: np.ndarray) -> np.ndarray:
    """[C, 1, KH, KW] to the layout above."""
    channels, _, kh, kw = weight.shape
    deep = -(-kh // 4)
    rows = np.zeros((channels, deep * 4, kw), np.int8)
    rows[:, :kh] = weight[:, 0]
    lanes = rows[lane_channels(channels)].reshape(-1, 16, deep, 4, kw)  # [quad, lane, row quad, row, column]
    parts = []
    for piece in chunks(channels):
        for chunk in range(piece.count):
            first = piece.offset + chunk * piece.quads
            part = lanes[first : first + piece.quads]
            parts.append(part.transpose(2, 4, 0, 1, 3).reshape(-1))
    return np.ascontiguousarray(np.concatenate(parts))


@dataclass(frozen=True)
class VnniDepthwise:
    """The kernel's operands and how it writes its loop nest."""

    b: KernelBuilder
    x: Image
    y: Image
    window: Window
    columns: int
    zero_point: int
    x_signed: bool
    y_signed: bool
    source: Memory
    weights: Memory
    bias: Memory
    scale: Memory
    result: Memory

    def emit(self) -> None:
        b, window = self.b, self.window
        taps = -(-window.kernel[0] // 4) * window.kernel[1]
        with b.loop(self.y.height) as row:
            for piece in chunks(self.x.channels):
                with b.loop(piece.count) as chunk:
                    quad = b.let(chunk * piece.quads + piece.offset)
                    channel = b.let(chunk * piece.width + piece.first)
                    for first, runs, columns in cover(self.y.width, self.columns):
                        with b.loop(runs) as run:
                            column = b.let(run * columns + first)
                            self._tile(piece, row, column, columns, channel, quad, b.let(quad * (taps * 64)))

    def _tile(
        self, piece: Chunks, row: Value, column: Value, columns: int, channel: Value, quad: Value, w_base: Value
    ) -> None:
        b, x, window = self.b, self.x, self.window
        starts = [b.let(self.bias.load((quad + q) * 16, 16)) for q in range(piece.quads)]
        accs = [[b.register(start) for start in starts] for _ in range(columns)]
        origin = x.start - window.padding[0] * x.row - window.padding[1] * x.pixel
        base = b.let(row * (window.stride[0] * x.row) + column * (window.stride[1] * x.pixel) + channel + origin)
        kh, kw = window.kernel
        for deep in range(-(-kh // 4)):
            taps = range(4 * deep, min(4 * deep + 4, kh))
            uses: dict[int, list[tuple[int, int]]] = {}
            for out in range(columns):
                for j in range(kw):
                    uses.setdefault(out * window.stride[1] + j * window.dilation[1], []).append((out, j))
            for position in sorted(uses):
                offsets = [tap * window.dilation[0] * x.row + position * x.pixel for tap in taps]
                quads = self._quads([self._load(base + offset, piece.width) for offset in offsets], piece.width)
                for out, j in uses[position]:
                    at = w_base + ((deep * kw + j) * piece.quads) * 64
                    self._accumulate(accs[out], quads, at)
        self._finish(accs, quad, self.y.start + row * self.y.row + column * self.y.pixel + channel, piece)

    def _load(self, index: Value, width: int) -> Value:
        bytes_ = self.source.load(index, width)
        if self.x_signed:
            bytes_ = reinterpret(bytes_, f"uint8x{width}") ^ const(0x80, "uint8", width)
        return self.b.let(bytes_)

    def _quads(self, rows: list[Value], width: int) -> list[Value]:
        """uint8x64 vectors: in each lane the bytes of up to four rows of one channel, zero where there is none."""
        b = self.b
        zero = const(0, "uint8", width)
        rows = [*rows, *[zero] * (4 - len(rows))]
        if width == 64:
            pairs = [b.let(shuffle([rows[r], rows[r + 1]], _unpack(half, 1))) for r in (0, 2) for half in (0, 1)]
            return [
                b.let(shuffle([pairs[half], pairs[2 + half]], _unpack(part, 2))) for half in (0, 1) for part in (0, 1)
            ]
        low, high = b.let(shuffle(rows[:2], range(2 * width))), b.let(shuffle(rows[2:], range(2 * width)))
        quads = []
        for quad in range(width // 16):
            order = [row * width + 16 * quad + lane for lane in range(16) for row in range(4)]
            quads.append(b.let(shuffle([low, high], order)))
        return quads

    def _accumulate(self, accs: list[Register], quads: list[Value], at: Value) -> None:
        for q, (acc, quad) in enumerate(zip(accs, quads, strict=True)):
            weight = self.weights.load(at + q * 64, 64)
            acc.set(intrinsic("int32x16", "llvm.x86.avx512.vpdpbusd.512", acc.value, quad, weight))

    def _finish(self, accs: list[list[Register]], quad: Value, index: Value, piece: Chunks) -> None:
        b = self.b
        factors = [b.let(self.scale.load((quad + q) * 16, 16)) for q in range(piece.quads)]
        at = b.let(index)
        for out, registers in enumerate(accs):
            products = [
                b.let(cast(acc.value, "float32") * factor) for acc, factor in zip(registers, factors, strict=True)
            ]
            packed = narrow(b, products, self.zero_point, self.y_signed, interleaved=piece.width == 64)
            store_first(b, self.result, at + out * self.y.pixel, packed, piece.width)


def _unpack(half: int, unit: int) -> list[int]:
    """Lane numbers of VPUNPCKL/H (half 0/1) of two 64-byte vectors in units of `unit` bytes."""
    order = []
    for part in range(4):
        for i in range(8 // unit):
            start = 16 * part + 8 * half + i * unit
            order += [*range(start, start + unit), *range(64 + start, 64 + start + unit)]
    return order
