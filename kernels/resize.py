"""Resizes an image to its nearest pixels or bilinearly, at the positions that ONNX's Resize defines.

Both modes are tables made here: each row and column of the result names two of the input and a weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError, unknown
from hwnas.kernels.builder import KernelBuilder, Value, broadcast, cast, const, rounded
from hwnas.kernels.image import Image, symbol
from hwnas.kernels.requantise import reference as requantised
from hwnas.kernels.requantise import to_8_bits
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target

MODES = ("nearest", "linear")
POSITIONS = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
TYPES = {"float32": 32, "uint8": 8, "int8": 8}


@dataclass(frozen=True)
class Resize:
    """Parameters of the kernel: x, rows and columns (int32 [2, size]: the two neighbours), and for `linear` their
    weights (f32 [2, height + width]); y. 8-bit codes are interpolated as numbers and rounded half to even: x and y
    have one scale.
    """

    x: Image
    y: Image
    mode: str = "nearest"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("resize mode", self.mode, MODES)
        if self.dtype not in TYPES:
            raise unknown("type of an element", self.dtype, TYPES)
        if self.x.channels != self.y.channels:
            raise HwnasError(f"resize: both images must have the same channels, got {self.x} and {self.y}")

    def symbol(self, tile: None = None) -> str:
        return symbol(f"resize_{self.mode}", "x".join(map(str, self.y.shape)), self)


def positions(size: int, result: int, place: str = "half_pixel", scale: float | None = None) -> np.ndarray:
    """f32 [result]: where each sample lies among `size`, by ONNX's coordinate_transformation_mode.

    `scale` is the model's own (result / size where it gives sizes). All in float32, operation by operation as ONNX
    Runtime has it: whether a position lies half-way decides which pixel is nearest.
    """
    if place not in POSITIONS:
        raise unknown("coordinate_transformation_mode", place, POSITIONS)
    factor = np.float32(np.float32(result) / np.float32(size) if scale is None else scale)
    index, half = np.arange(result, dtype=np.float32), np.float32(0.5)
    if place == "align_corners":
        return index * np.float32(size - 1) / np.float32(max(result - 1, 1))
    if place == "asymmetric":
        return index / factor
    if place == "pytorch_half_pixel" and result == 1:
        return index * 0
    return (index + half) / factor - half


def nearest_table(where: np.ndarray, size: int, rounding: str = "round_prefer_floor") -> np.ndarray:
    """int32 [result]: the pixel nearest to each position, by ONNX's nearest_mode."""
    if rounding not in ROUNDINGS:
        raise unknown("nearest_mode", rounding, ROUNDINGS)
    functions: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    return np.clip(functions[rounding](where), 0, size - 1).astype(np.int32)


def linear_table(where: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(int32 [2, result]: the two neighbours, f32 [2, result]: their weights); positions outside are clamped. Where the
    two are one pixel each weighs a half, as in ONNX Runtime: that decides the last bit of the sum of four."""
    inside = np.clip(where, 0, size - 1)
    low = np.floor(inside).astype(np.int32)
    high = np.minimum(low + 1, size - 1)
    fraction = (inside - low).astype(np.float32)
    fraction[low == high] = 0.5
    return np.stack([low, high]), np.stack([np.float32(1) - fraction, fraction])


def pack(
    spec: Resize, target: Target, rows: np.ndarray, columns: np.ndarray, rounding: str = "round_prefer_floor"
) -> tuple[np.ndarray, ...]:
    """(rows, columns) for nearest, (rows, columns, weights) for linear, from each axis's `positions`."""
    if spec.mode == "nearest":
        tables = nearest_table(rows, spec.x.height, rounding), nearest_table(columns, spec.x.width, rounding)
        return tuple(np.stack([table, table]) for table in tables)
    (high, high_weights), (wide, wide_weights) = (
        linear_table(where, size) for where, size in ((rows, spec.x.height), (columns, spec.x.width))
    )
    return high, wide, np.concatenate([high_weights, wide_weights], axis=1)


def reference(
    spec: Resize, x: np.ndarray, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """x [H, W, C] and `pack`'s tables -> y: float32, each product and sum rounded in this order; kernels of 8-bit
    codes give the same bits, float32 ones may contract."""
    if weights is None:
        return x[rows[0]][:, columns[0]]
    high, wide = weights[:, : spec.y.height], weights[:, spec.y.height :]
    total = np.zeros(spec.y.shape, np.float32)
    for i in range(2):
        for j in range(2):
            share = high[i][:, None, None] * wide[j][None, :, None]
            total = total + share * x[rows[i]][:, columns[j]].astype(np.float32)
    return total if spec.dtype == "float32" else requantised(total, 0, spec.dtype == "int8")


def tiles(spec: Resize, target: Target) -> list[None]:
    return [None]


def build(spec: Resize, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, rows, columns, [weights,] y)."""
    b = KernelBuilder(spec.symbol())
    high, wide = spec.y.height, spec.y.width
    x = b.pointer("x", spec.dtype, spec.x.size)
    rows, columns = b.pointer("rows", "int32", 2 * high), b.pointer("columns", "int32", 2 * wide)
    linear = spec.mode == "linear"
    weights = b.pointer("weights", "float32", 2 * (high + wide)) if linear else None
    y = b.pointer("y", spec.dtype, spec.y.size)
    lanes = lanes_for(target, 32 if linear else TYPES[spec.dtype])
    with b.loop(high) as row, b.loop(wide) as column:
        result = b.let(row * spec.y.row + column * spec.y.pixel + spec.y.start)
        corners: list[tuple[Value, Value]] = []
        for i in range(2 if linear else 1):
            for j in range(2 if linear else 1):
                line = rows.load(row + i * high) * spec.x.row
                at = b.let(line + columns.load(column + j * wide) * spec.x.pixel + spec.x.start)
                share: Value = const(1.0, "float32")
                if weights is not None:
                    across = weights.load(column + high + j * (high + wide))
                    share = b.let(rounded(weights.load(row + i * (high + wide)) * across))
                corners.append((at, share))
        for first, count, size in pieces(spec.y.channels, lanes):
            with b.loop(count) as piece:
                channel = b.let(piece * size + first)
                if not linear:
                    y.store(result + channel, x.load(corners[0][0] + channel, size))
                    continue
                total: Value = const(0.0, "float32", size)
                for at, share in corners:
                    pixel = cast(x.load(at + channel, size), "float32")
                    total = b.let(total + rounded(broadcast(share, size) * pixel))
                y.store(
                    result + channel, total if spec.dtype == "float32" else to_8_bits(total, 0, spec.dtype == "int8")
                )
    return b.finish()
