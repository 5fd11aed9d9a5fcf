"""The loop nest of a direct NHWC convolution: a register tile of output pixels by vectors of output channels.

One definition for every element type: a `Dot` says how one step along the input channels is loaded and accumulated,
a finisher what happens to a finished accumulator. Weights lie as
`[group][vector of output channels][KH][KW][step along the input channels][lanes][channels of a step]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hwnas.kernels.builder import KernelBuilder, Memory, Register, Value
from hwnas.kernels.image import Image, Window
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Place:
    """Where one pixel's accumulators belong: `lane` indexes the padded per-channel constants, `channel` the image's
    channels; `count` channels from there on exist."""

    lane: Value
    channel: Value
    row: Value
    column: Value
    count: int

    def index(self, image: Image) -> Value:
        """Flat index of the first channel in an image of the output's shape."""
        return self.row * image.row + self.column * image.pixel + self.channel + image.start


# finish(place, the accumulators of adjacent vectors of channels of one pixel)
Finish = Callable[[Place, list[Value]], None]


class Dot(Protocol):
    """One accumulation step: `lanes` output channels, `step` input channels, whose weights lie in `order`."""

    @property
    def lanes(self) -> int: ...

    @property
    def step(self) -> int: ...

    @property
    def weight_dtype(self) -> str: ...

    @property
    def order(self) -> tuple[int, ...]: ...

    def zero(self) -> Value:
        """An accumulator that holds nothing."""
        ...

    def activation(self, b: KernelBuilder, memory: Memory, index: Value) -> Value:
        """The step's activations of one pixel, in every lane."""
        ...

    def accumulate(self, acc: Value, activation: Value, weight: Value) -> Value:
        """acc + sum over the step of activation * weight."""
        ...


@dataclass(frozen=True)
class Tile:
    """Output rows x columns x vectors of output channels held in registers, and steps unrolled."""

    rows: int
    columns: int
    vectors: int
    unroll: int = 1


@dataclass(frozen=True)
class Conv:
    """The geometry of one convolution for one dot."""

    x: Image
    y: Image
    window: Window
    groups: int

    @property
    def in_channels(self) -> int:
        """Input channels of one group."""
        return self.x.channels // self.groups

    @property
    def out_channels(self) -> int:
        """Output channels of one group."""
        return self.y.channels // self.groups

    def steps(self, dot: Dot) -> int:
        """Steps along the input channels of one tap."""
        return -(-self.in_channels // dot.step)

    def blocks(self, dot: Dot) -> int:
        """Vectors of output channels of one group."""
        return -(-self.out_channels // dot.lanes)

    def block_size(self, dot: Dot) -> int:
        """Weight elements of one vector of output channels."""
        return self.window.taps * self.steps(dot) * dot.lanes * dot.step

    def fits(self, step: int) -> bool:
        """True where reading `step` channels at a time stays inside each pixel (and so inside the buffer)."""
        if self.groups == 1:
            return -(-self.in_channels // step) * step <= self.x.pixel
        return self.in_channels % step == 0

    def weights_size(self, dot: Dot) -> int:
        return self.groups * self.blocks(dot) * self.block_size(dot)

    def lanes_size(self, dot: Dot) -> int:
        """Elements of a per-output-channel constant, padded to whole vectors in each group."""
        return self.groups * self.blocks(dot) * dot.lanes


def pack_weights(conv: Conv, dot: Dot, weight: np.ndarray) -> np.ndarray:
    """[O, I / groups, KH, KW] to the layout above, missing channels zero."""
    kh, kw = conv.window.kernel
    steps, blocks = conv.steps(dot), conv.blocks(dot)
    whole = np.zeros((conv.groups, blocks * dot.lanes, steps * dot.step, kh, kw), weight.dtype)
    whole[:, : conv.out_channels, : conv.in_channels] = weight.reshape(
        conv.groups, conv.out_channels, conv.in_channels, kh, kw
    )
    split = whole.reshape(conv.groups, blocks, dot.lanes, steps, dot.step, kh, kw)[:, :, :, :, list(dot.order)]
    return np.ascontiguousarray(split.transpose(0, 1, 5, 6, 3, 2, 4)).reshape(-1).astype(dot.weight_dtype)


def pack_lanes(conv: Conv, dot: Dot, values: np.ndarray, fill: float = 0) -> np.ndarray:
    """A per-output-channel constant [O], padded to whole vectors in each group."""
    whole = np.full((conv.groups, conv.blocks(dot) * dot.lanes), fill, values.dtype)
    whole[:, : conv.out_channels] = values.reshape(conv.groups, conv.out_channels)
    return whole.reshape(-1)


def emit_conv(
    b: KernelBuilder,
    conv: Conv,
    dot: Dot,
    tile: Tile,
    x: Memory,
    weights: Memory,
    start: Callable[[Value], Value],
    finish: Finish,
) -> None:
    """Writes the whole nest. `start(lane index)` gives a vector's initial accumulator."""
    nest = _Nest(b, conv, dot, tile, x, weights, start, finish)
    with b.loop(conv.groups) as group:
        nest.channels(group)


def flattened(conv: Conv, *others: Image) -> bool:
    """True where a 1x1 stride-1 convolution may treat all its images as one long row of pixels."""
    images = (conv.x, conv.y, *others)
    return conv.window == Window() and all(image.halo == (0, 0, 0, 0) for image in images)


def long_row(image: Image) -> Image:
    """The image as one row of pixels."""
    return Image(1, image.height * image.width, image.channels, (0, 0, 0, 0), image.stored)


def even_columns(conv: Conv, dot: Dot, target: Target) -> list[Tile]:
    """Register tiles that fill the registers of `target`, the best guess first."""
    blocks, width = conv.blocks(dot), conv.y.width
    found = []
    for vectors in (4, 2, 3, 1) if width > 2 else (12 // width, 8 // width, 4, 2, 1):
        if vectors <= blocks:
            most = min(max((target.max_registers - vectors - 2) // vectors, 1), 12)
            found.append(Tile(1, -(-width // -(-width // most)), vectors))
    return found or [Tile(1, 1, 1)]


@dataclass(frozen=True)
class _Nest:
    b: KernelBuilder
    conv: Conv
    dot: Dot
    tile: Tile
    x: Memory
    weights: Memory
    start: Callable[[Value], Value]
    finish: Finish

    def channels(self, group: Value) -> None:
        """Loops over blocks of output channels, the incomplete last block apart."""
        blocks, vectors = self.conv.blocks(self.dot), self.tile.vectors
        whole = self.conv.out_channels // self.dot.lanes  # vectors whose channels all exist
        if whole >= vectors:
            with self.b.loop(whole // vectors) as block:
                self.rows(group, block * vectors, [self.dot.lanes] * vectors)
        done = whole // vectors * vectors
        if done < blocks:
            left = self.conv.out_channels - done * self.dot.lanes
            self.rows(group, done, [min(self.dot.lanes, left - v * self.dot.lanes) for v in range(blocks - done)])

    def rows(self, group: Value, block: Value, counts: list[int]) -> None:
        """Loops over tiles of output pixels; `counts` are the channels that exist in each vector of the block."""
        for first_row, row_tiles, rows in cover(self.conv.y.height, self.tile.rows):
            with self.b.loop(row_tiles) as row:
                for first, column_tiles, columns in cover(self.conv.y.width, self.tile.columns):
                    with self.b.loop(column_tiles) as column:
                        self.tile_body(
                            group, block, counts, row * rows + first_row, rows, column * columns + first, columns
                        )

    def tile_body(
        self, group: Value, block: Value, counts: list[int], row: Value, rows: int, column: Value, columns: int
    ) -> None:
        conv, dot, b = self.conv, self.dot, self.b
        blocks = conv.blocks(dot)
        lane = b.let((group * blocks + block) * dot.lanes)
        starts = [b.let(self.start(lane + j * dot.lanes)) for j in range(len(counts))]
        pixels = [(i, j) for i in range(rows) for j in range(columns)]
        accs = [[b.register(start) for start in starts] for _ in pixels]
        self.taps(b.let((group * blocks + block) * conv.block_size(dot)), self.x_base(group, row, column), pixels, accs)
        channel = b.let(group * conv.out_channels + block * dot.lanes)
        for (i, j), registers in zip(pixels, accs, strict=True):
            place = Place(lane, channel, row + i, column + j, sum(counts))
            self.finish(place, [register.value for register in registers])

    def x_base(self, group: Value, row: Value, column: Value) -> Value:
        """Index of the first element that the tile's first pixel reads."""
        conv = self.conv
        top, left = conv.window.padding[:2]
        first = conv.x.start - top * conv.x.row - left * conv.x.pixel
        across = row * (conv.window.stride[0] * conv.x.row) + column * (conv.window.stride[1] * conv.x.pixel)
        return self.b.let(first + across + group * conv.in_channels)

    def taps(self, w_base: Value, x_base: Value, pixels: list[tuple[int, int]], accs: list[list[Register]]) -> None:
        """The reduction: a loop over kernel rows, then over kernel columns and steps (one loop where they adjoin)."""
        conv, dot, b = self.conv, self.dot, self.b
        (kh, kw), steps, width = conv.window.kernel, conv.steps(dot), dot.lanes * dot.step
        run = kw > 1 and conv.window.dilation[1] == 1 and conv.groups == 1 and conv.x.pixel == steps * dot.step
        with b.loop(kh) as i:
            x_row = b.let(x_base + i * (conv.window.dilation[0] * conv.x.row))
            w_row = b.let(w_base + i * (kw * steps * width))
            if run:
                self.steps(kw * steps, x_row, w_row, pixels, accs)
                return
            with b.loop(kw) as j:
                x_tap = b.let(x_row + j * (conv.window.dilation[1] * conv.x.pixel))
                self.steps(steps, x_tap, b.let(w_row + j * (steps * width)), pixels, accs)

    def steps(
        self, count: int, x_base: Value, w_base: Value, pixels: list[tuple[int, int]], accs: list[list[Register]]
    ) -> None:
        for first, loops, unroll in cover(count, self.tile.unroll):
            with self.b.loop(loops) as k:
                for u in range(unroll):
                    self.step(k * unroll + (first + u), x_base, w_base, pixels, accs)

    def step(
        self, k: Value, x_base: Value, w_base: Value, pixels: list[tuple[int, int]], accs: list[list[Register]]
    ) -> None:
        conv, dot, b = self.conv, self.dot, self.b
        width = dot.lanes * dot.step
        weights = [
            b.let(self.weights.load(w_base + k * width + v * conv.block_size(dot), width)) for v in range(len(accs[0]))
        ]
        for (i, j), registers in zip(pixels, accs, strict=True):
            offset = i * conv.window.stride[0] * conv.x.row + j * conv.window.stride[1] * conv.x.pixel
            activation = b.let(dot.activation(b, self.x, x_base + k * dot.step + offset))
            for register, weight in zip(registers, weights, strict=True):
                register.set(dot.accumulate(register.value, activation, weight))


def cover(extent: int, tile: int) -> Iterator[tuple[int, int, int]]:
    """(first, number of tiles, tile size) pieces that cover `extent`: whole tiles, then what is left."""
    whole = extent // tile
    if whole:
        yield 0, whole, tile
    if extent % tile:
        yield whole * tile, 1, extent % tile
