"""Raw uint8 pixels to the normalised float32 image: antialiased bilinear resize and (x - mean) * factor in one pass.

All sums are of whole numbers (8-bit pixels, 22-bit weights), so the result is the same to the bit on every target and
in any runtime that sums exactly. Rows are summed first, along whole lines of interleaved pixels and in vectors; then
each result pixel is summed across its line in 64 bits: widening multiply-adds, which the smallest cores have too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Memory, Value, broadcast, cast, const, kernel_name
from hwnas.kernels.image import Image
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target

BITS = 22  # 8 + 22 bits fit int32, 8 + 22 + 22 int64; as fine as float32's own 24
ONE = 1 << BITS
Taps = tuple[np.ndarray, np.ndarray]  # first (n,), weights (n, taps)


@dataclass(frozen=True)
class Preprocess:
    """Parameters of the kernel: x (u8), [first and weights (i32) of rows, of columns], mean, factor (f32), y (f32),
    [line (i32 [W * C]), scratch]; those in brackets only where it resizes. `taps`: weights a result row and column."""

    x: Image
    y: Image
    taps: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.x.size == self.x.height * self.x.width * self.x.channels:
            raise HwnasError(f"preprocess: pixels must be dense, without a halo, got {self.x}")
        if self.x.channels != self.y.channels or (self.taps is None and self.x.shape != self.y.shape):
            raise HwnasError(f"preprocess: cannot give {self.y.shape} from {self.x.shape} with taps {self.taps}")
        if self.taps is not None and not (1 <= self.taps[0] <= self.x.height and 1 <= self.taps[1] <= self.x.width):
            raise HwnasError(f"preprocess: taps must be within {self.x.shape[:2]}, got {self.taps}")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the resize."""
        if self.taps is None:
            return 0
        return self.y.channels * self.y.height * (self.x.width * self.taps[0] + self.y.width * self.taps[1])

    @property
    def line(self) -> int:
        """Values of one line of pixels."""
        return self.x.width * self.x.channels


def check_taps(spec: Preprocess, rows: Taps, columns: Taps) -> None:
    """Refuses taps that would read outside the image, or whose sums could leave their integers."""
    assert spec.taps is not None
    ends = ((rows, spec.x.height, spec.y.height), (columns, spec.x.width, spec.y.width))
    for ((first, weights), size, result), count in zip(ends, spec.taps, strict=True):
        if first.shape != (result,) or weights.shape != (result, count):
            raise HwnasError(f"preprocess: taps must be [{result}] and [{result}, {count}], got {first.shape}")
        if first.min() < 0 or int(first.max()) + count > size:
            raise HwnasError(f"preprocess: taps must lie within {size} pixels")
        if weights.min() < 0 or int(weights.astype(np.int64).sum(axis=1).max()) > ONE:
            raise HwnasError(f"preprocess: weights of a result must be of at least 0 and sum to at most {ONE}")


def reference(
    spec: Preprocess, x: np.ndarray, mean: np.ndarray, factor: np.ndarray, rows: Taps | None, columns: Taps | None
) -> np.ndarray:
    """x [H, W, C] -> f32 [h, w, C]: exact sums, halves rounded up to 22 fractional bits, then three float32 steps."""
    real = x.astype(np.float32)
    if rows is not None and columns is not None:
        high = _summed(x.astype(np.int64), rows)
        both = _summed(high.transpose(1, 0, 2), columns).transpose(1, 0, 2)
        real = ((both + ONE // 2) >> BITS).astype(np.float32) * np.float32(1 / ONE)
    result: np.ndarray = (real - mean.astype(np.float32)) * factor.astype(np.float32)
    return result


def _summed(x: np.ndarray, taps: Taps) -> np.ndarray:
    first, weights = taps
    found = np.zeros((len(first), *x.shape[1:]), np.int64)
    for i, start in enumerate(first):
        for t in range(weights.shape[1]):
            found[i] += x[int(start) + t] * int(weights[i, t])
    return found


def pack(
    spec: Preprocess, target: Target, mean: np.ndarray, factor: np.ndarray, rows: Taps | None, columns: Taps | None
) -> tuple[np.ndarray, ...]:
    """Taps as int32; without a resize mean and factor are laid out for `channels` vectors of interleaved pixels."""
    ends = (mean.astype(np.float32), factor.astype(np.float32))
    if spec.taps is None:
        return tuple(np.tile(end, _lanes(target)) for end in ends)
    assert rows is not None and columns is not None
    check_taps(spec, rows, columns)
    taps = (np.ascontiguousarray(part, np.int32) for axis in (rows, columns) for part in axis)
    return (*taps, *ends)


def tiles(spec: Preprocess, target: Target) -> list[None]:
    return [None]


def build(spec: Preprocess, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, taps..., mean, factor, y, line), or f(x, mean, factor, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", "uint8", spec.x.size)
    if spec.taps is None:
        _convert(b, spec, x, _lanes(target))
        return b.finish()
    tables = [
        (b.pointer(f"{axis}_first", "int32", result), b.pointer(f"{axis}_weights", "int32", result * count))
        for axis, result, count in zip(("row", "column"), spec.y.shape[:2], spec.taps, strict=True)
    ]
    mean, factor = (b.pointer(name, "float32", spec.y.channels) for name in ("mean", "factor"))
    y = b.pointer("y", "float32", spec.y.size)
    line = b.pointer("line", "int32", spec.line)
    with b.loop(spec.y.height) as row:
        _sum_rows(b, spec, x, tables[0], line, row, 2 * _lanes(target))
        _sum_columns(b, spec, line, tables[1], (mean, factor), y, row)
    return b.finish()


def _lanes(target: Target) -> int:
    return lanes_for(target, 32)


def _convert(b: KernelBuilder, spec: Preprocess, x: Memory, lanes: int) -> None:
    """Pixels of the same size: whole lines in vectors; the constants repeat after `channels` of them."""
    period = spec.y.channels * lanes
    mean, factor = (b.pointer(name, "float32", period) for name in ("mean", "factor"))
    y = b.pointer("y", "float32", spec.y.size)

    def convert(source: Value, target: Value, place: Value, size: int) -> None:
        real = cast(x.load(source, size), "float32")
        y.store(target, (real - mean.load(place, size)) * factor.load(place, size))

    with b.loop(spec.x.height) as row:
        source = b.let(row * spec.line)
        target = b.let(row * spec.y.row + spec.y.start)
        blocks, rest = divmod(spec.line, period)
        if blocks:
            with b.loop(blocks) as block:
                for vector in range(spec.y.channels):
                    offset = b.let(block * period + vector * lanes)
                    convert(source + offset, target + offset, vector * lanes, lanes)
        if rest:
            with b.loop(rest) as i:
                done = b.let(i + blocks * period)
                convert(source + done, target + done, i, 1)


def _sum_rows(
    b: KernelBuilder, spec: Preprocess, x: Memory, taps: tuple[Memory, Memory], line: Memory, row: Value, lanes: int
) -> None:
    """line[k] = sum of weights * x over the rows that result row `row` reads: at most 255 * 2^22, an int32."""
    assert spec.taps is not None
    first, weights = taps
    top = b.let(first.load(row) * spec.line)
    for start, count, size in pieces(spec.line, lanes):
        with b.loop(count) as i:
            place = b.let(i * size + start)
            total = b.register(const(0, "int32", size))
            with b.loop(spec.taps[0]) as tap:
                weight = b.let(weights.load(row * spec.taps[0] + tap))
                pixels = cast(x.load(top + tap * spec.line + place, size), "int32")
                total.set(total.value + pixels * broadcast(weight, size))
            line.store(place, total.value)


def _sum_columns(
    b: KernelBuilder,
    spec: Preprocess,
    line: Memory,
    taps: tuple[Memory, Memory],
    ends: tuple[Memory, Memory],
    y: Memory,
    row: Value,
) -> None:
    """One line of results: 52-bit sums, rounded to 22 fractional bits, then float32."""
    assert spec.taps is not None
    first, weights = taps
    channels = spec.y.channels
    with b.loop(spec.y.width) as column:
        left = b.let(first.load(column) * channels)
        target = b.let(row * spec.y.row + column * spec.y.pixel + spec.y.start)
        with b.loop(channels) as channel:
            total = b.register(const(ONE // 2, "int64"))
            with b.loop(spec.taps[1]) as tap:
                weight = cast(weights.load(column * spec.taps[1] + tap), "int64")
                total.set(total.value + cast(line.load(left + tap * channels + channel), "int64") * weight)
            whole = cast(total.value >> const(BITS, "int64"), "int32")
            real = cast(whole, "float32") * const(1 / ONE, "float32")
            y.store(target + channel, (real - ends[0].load(channel)) * ends[1].load(channel))
