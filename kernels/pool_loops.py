"""Windows over an image that skip the taps outside it, so that pools need no halo of a special value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hwnas.kernels.builder import KernelBuilder, Value, const
from hwnas.kernels.image import Image, Window
from hwnas.kernels.sweep import pieces, segments

if TYPE_CHECKING:
    from hwnas.kernels.fp32_pool import Fp32AveragePool
    from hwnas.kernels.int8_average_pool import Int8AveragePool

    MeanPool: TypeAlias = Fp32AveragePool | Int8AveragePool


def emit_pool(
    b: KernelBuilder,
    x: Image,
    y: Image,
    window: Window,
    lanes: int,
    combine: Callable[[Value, Value], Value],
    tap: Callable[[Value, int], Value],
    finish: Callable[[Value, Value, int, int], None],
    start: Callable[[int], Value],
) -> None:
    """Folds `combine` over each window's taps in row order; `finish(index, value, taps, lanes)` stores one result."""
    (kh, kw), (sh, sw), (dh, dw), pad = window.kernel, window.stride, window.dilation, window.padding
    for first_row, rows, tap_rows in segments(x.height, y.height, kh, sh, pad[0], dh):
        for first_column, columns, tap_columns in segments(x.width, y.width, kw, sw, pad[1], dw):
            with b.loop(rows) as i, b.loop(columns) as j:
                row, column = i + first_row, j + first_column
                corner = (row * sh + (tap_rows.start * dh - pad[0])) * x.row
                corner = b.let(corner + (column * sw + (tap_columns.start * dw - pad[1])) * x.pixel + x.start)
                out = b.let(row * y.row + column * y.pixel + y.start)
                for first, count, size in pieces(x.channels, lanes):
                    with b.loop(count) as k:
                        channel = k * size + first
                        acc = b.register(start(size))
                        with b.loop(len(tap_rows)) as r, b.loop(len(tap_columns)) as c:
                            value = tap(corner + r * (dh * x.row) + c * (dw * x.pixel) + channel, size)
                            acc.set(combine(acc.value, value))
                        finish(out + channel, acc.value, len(tap_rows) * len(tap_columns), size)


def emit_mean(
    b: KernelBuilder,
    spec: MeanPool,
    lanes: int,
    tap: Callable[[Value, int], Value],
    store: Callable[[Value, Value, int], None],
) -> None:
    """`emit_pool` of float32 sums over their taps; `store(index, mean, lanes)` stores one result."""

    def finish(index: Value, total: Value, taps: int, size: int) -> None:
        store(index, total / const(float(spec.window.taps if spec.include_pad else taps), "float32", size), size)

    def zero(size: int) -> Value:
        return const(0.0, "float32", size)

    emit_pool(b, spec.x, spec.y, spec.window, lanes, lambda acc, value: acc + value, tap, finish, zero)


def reference_mean(spec: MeanPool, x: np.ndarray) -> np.ndarray:
    """x float32 [H, W, C] -> [OH, OW, C], summed in float32 tap by tap."""
    y = np.empty(spec.y.shape, np.float32)
    for row, column, taps in reference_taps(spec.x, spec.y, spec.window):
        total = np.zeros(spec.x.channels, np.float32)
        for i, j in taps:
            total = total + x[i, j]
        y[row, column] = total / np.float32(spec.window.taps if spec.include_pad else len(taps))
    return y


def reference_taps(x: Image, y: Image, window: Window) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """(output row, output column, the input positions inside the image) of every window."""
    (kh, kw), (sh, sw), (dh, dw), pad = window.kernel, window.stride, window.dilation, window.padding
    for row in range(y.height):
        for column in range(y.width):
            rows = [row * sh - pad[0] + i * dh for i in range(kh)]
            columns = [column * sw - pad[1] + j * dw for j in range(kw)]
            yield row, column, [(i, j) for i in rows for j in columns if 0 <= i < x.height and 0 <= j < x.width]
