"""INT8 average pooling (QLinearAveragePool): ONNX Runtime averages dequantised float32 values, tap by tap.

y = saturate(round(((sum of f32(x - z_x) * s_x, in row order) / taps) / s_y + z_y)), every step rounded
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.kernels.builder import KernelBuilder, Value, broadcast, cast, const, kernel_name, rounded
from hwnas.kernels.image import Image, Window, check_window
from hwnas.kernels.pool_loops import emit_mean, reference_mean
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
    return requantised(reference_mean(spec, values) / scales[1] + np.float32(spec.y_zero_point), 0, spec.signed)


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

    def store(index: Value, mean: Value, lanes: int) -> None:
        value = rounded(rounded(mean) / broadcast(y_scale, lanes)) + const(float(spec.y_zero_point), "float32", lanes)
        y.store(index, to_8_bits(value, 0, spec.signed))

    emit_mean(b, spec, lanes_for(target, 32), tap, store)
    return b.finish()
