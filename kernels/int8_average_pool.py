"""INT8 average pooling (QLinearAveragePool): ONNX Runtime averages dequantised float32 values, tap by tap.

y = saturate(round(((sum of f32(x - z_x) * s_x, in row order) / taps) / s_y + z_y)), every step rounded
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.kernels.builder import KernelBuilder, Value, broadcast, cast, const, kernel_name, rounded
from hwnas.kernels.image import Image, Window, check_window
from hwnas.kernels.pool_loops import emit_pool, reference_taps
from hwnas.kernels.requantise import reference as requantised
from hwnas.kernels.requantise import storage, to_8_bits
from hwnas.kernels.sweep import lanes_for
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Int8AveragePool:
    """Parameters of the kernel: x, scales (f32 [2]: s_x, s_y), y. Taps outside the image are skipped."""

    x: Image
    y: Image
    window: Window
    include_pad: bool = False
    x_zero_point: int = 0
    y_zero_point: int = 0
    signed: bool = False

    def __post_init__(self) -> None:
        check_window("int8 average pool", self.x, self.y, self.window, needs_halo=False)


def reference(spec: Int8AveragePool, x: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """x [H, W, C], scales f32 [2] -> y [OH, OW, C]."""
    values = scales[0] * (x.astype(np.int32) - spec.x_zero_point).astype(np.float32)
    y = np.empty(spec.y.shape, np.float32)
    for row, column, taps in reference_taps(spec.x, spec.y, spec.window):
        total = np.zeros(spec.x.channels, np.float32)
        for i, j in taps:
            total = total + values[i, j]
        y[row, column] = total / np.float32(spec.window.taps if spec.include_pad else len(taps))
    return requantised(y / scales[1] + np.float32(spec.y_zero_point), 0, spec.signed)


def pack(spec: Int8AveragePool, target: Target, x_scale: float, y_scale: float) -> tuple[np.ndarray]:
    """(scales,)"""
    return (np.array([x_scale, y_scale], np.float32),)


def tiles(spec: Int8AveragePool, target: Target) -> list[None]:
    return [None]


def build(spec: Int8AveragePool, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, scales, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    kind = storage(spec.signed)
    x = b.pointer("x", kind, spec.x.size)
    scales = b.pointer("scales", "float32", 2)
    y = b.pointer("y", kind, spec.y.size)
    x_scale, y_scale = b.let(scales.load(0)), b.let(scales.load(1))

    def tap(index: Value, lanes: int) -> Value:
        centred = cast(x.load(index, lanes), "int32") - const(spec.x_zero_point, "int32", lanes)
        return rounded(cast(centred, "float32") * broadcast(x_scale, lanes))

    def finish(index: Value, total: Value, taps: int, lanes: int) -> None:
        divisor = float(spec.window.taps if spec.include_pad else taps)
        mean = rounded(total / const(divisor, "float32", lanes))
        value = rounded(mean / broadcast(y_scale, lanes)) + const(float(spec.y_zero_point), "float32", lanes)
        y.store(index, to_8_bits(value, 0, spec.signed))

    emit_pool(
        b,
        spec.x,
        spec.y,
        spec.window,
        lanes_for(target, 32),
        lambda acc, value: acc + value,
        tap,
        finish,
        lambda lanes: const(0.0, "float32", lanes),
    )
    return b.finish()
