"""The loop nest of a depthwise convolution: channels in lanes, a run of output columns in registers.

Adjacent columns share the input vectors they both read. Weights lie as [KH * KW][channels].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwnas.kernels.builder import KernelBuilder, Register, Value
from hwnas.kernels.direct_conv import cover
from hwnas.kernels.image import Image, Window
from hwnas.kernels.sweep import pieces


@dataclass(frozen=True)
class Tile:
    """Output columns held in registers."""

    columns: int


@dataclass(frozen=True)
class Depthwise:
    """How one element type loads, multiplies and finishes; indices are flat, `channel` is the first of `lanes`."""

    activation: Callable[[Value, int], Value]
    weight: Callable[[Value, int], Value]
    start: Callable[[Value, int], Value]
    accumulate: Callable[[Value, Value, Value], Value]
    finish: Callable[[Value, Value, Value], None]


def emit_depthwise(
    b: KernelBuilder, x: Image, y: Image, window: Window, lanes: int, tile: Tile, element: Depthwise
) -> None:
    """Writes the nest: rows, then vectors of channels, then runs of columns."""
    with b.loop(y.height) as row:
        for first, count, size in pieces(y.channels, lanes):
            with b.loop(count) as i:
                channel = b.let(i * size + first)
                for start, runs, columns in cover(y.width, tile.columns):
                    with b.loop(runs) as run:
                        column = b.let(run * columns + start)
                        _columns(b, x, y, window, element, row, column, columns, channel, size)


def _columns(
    b: KernelBuilder,
    x: Image,
    y: Image,
    window: Window,
    element: Depthwise,
    row: Value,
    column: Value,
    columns: int,
    channel: Value,
    lanes: int,
) -> None:
    first = b.let(element.start(channel, lanes))
    accs = [b.register(first) for _ in range(columns)]
    origin = x.start - window.padding[0] * x.row - window.padding[1] * x.pixel
    base = b.let(row * (window.stride[0] * x.row) + column * (window.stride[1] * x.pixel) + channel + origin)
    unrolled = window.taps <= 25
    if unrolled:
        for i in range(window.kernel[0]):
            _kernel_row(b, x, y, window, element, base + i * window.dilation[0] * x.row, i, channel, lanes, accs)
    else:
        with b.loop(window.kernel[0]) as i:
            start = b.let(base + i * (window.dilation[0] * x.row))
            _kernel_row(b, x, y, window, element, start, i, channel, lanes, accs)
    out = b.let(row * y.row + column * y.pixel + channel + y.start)
    for j, acc in enumerate(accs):
        element.finish(channel, out + j * y.pixel, acc.value)


def _kernel_row(
    b: KernelBuilder,
    x: Image,
    y: Image,
    window: Window,
    element: Depthwise,
    base: Value,
    i: Value,
    channel: Value,
    lanes: int,
    accs: list[Register],
) -> None:
    width = window.kernel[1]
    weights = [b.let(element.weight((i * width + j) * y.channels + channel, lanes)) for j in range(width)]
    uses: dict[int, list[tuple[int, int]]] = {}
    for column in range(len(accs)):
        for j in range(width):
            uses.setdefault(column * window.stride[1] + j * window.dilation[1], []).append((column, j))
    for position in sorted(uses):
        activation = b.let(element.activation(base + position * x.pixel, lanes))
        for column, j in uses[position]:
            accs[column].set(element.accumulate(accs[column].value, activation, weights[j]))
