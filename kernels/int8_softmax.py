"""INT8 softmax over the channels (QLinearSoftmax): float32 exponentials from a table, summed in order.

y = saturate(round(t[x] * floor(1 / s_y) / sum t) + z_y),  t[x] = f32(exp((x + 255 - max - 255 + shift) * s_x))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, cast, const, kernel_name, rounded
from hwnas.kernels.image import Image, check_same_shape
from hwnas.kernels.requantise import reference as requantised
from hwnas.kernels.requantise import to_8_bits
from hwnas.kernels.target import Target

_FLOAT_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Int8Softmax:
    """Parameters of the kernel: x (u8), table (f32 [256]), scale (f32 [1]), y (u8). Every pixel apart."""

    x: Image
    y: Image
    y_zero_point: int = 0

    def __post_init__(self) -> None:
        check_same_shape("int8 softmax", self.x, self.y)
        if self.x.channels < 2:
            # with one channel table * scale leaves float32 (ONNX Runtime's answer is then undefined)
            raise HwnasError(f"int8 softmax: at least 2 channels are needed, got {self.x.channels}")


def table(x_scale: float, length: int) -> np.ndarray:
    """f32 [256]: exp((i - 255 + shift) * s_x), ONNX Runtime's shift keeps a sum of `length` finite."""
    scale = float(np.float32(x_scale))
    shift = max(0.0, float(np.log(np.float32(_FLOAT_MAX) / np.float32(length))) - 5.0) / scale
    return np.exp((np.arange(256, dtype=np.float64) - 255 + shift) * scale).astype(np.float32)


def reference(spec: Int8Softmax, x: np.ndarray, entries: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """x u8 [H, W, C], the two constants of `pack` -> y u8 [H, W, C]."""
    y = np.empty_like(x)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            values = entries[x[row, column].astype(np.int32) + 255 - int(x[row, column].max())]
            total = np.float32(0)
            for value in values:
                total = np.float32(total + value)
            quotients = (values * scale[0]).astype(np.float32) / total
            y[row, column] = requantised(np.rint(quotients) + np.float32(spec.y_zero_point), 0, False)
    return y


def pack(spec: Int8Softmax, target: Target, x_scale: float, y_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """(table, scale)"""
    return table(x_scale, spec.x.channels), np.array([np.floor(np.float32(1) / np.float32(y_scale))], np.float32)


def tiles(spec: Int8Softmax, target: Target) -> list[None]:
    return [None]


def build(spec: Int8Softmax, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, table, scale, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", "uint8", spec.x.size)
    entries = b.pointer("table", "float32", 256)
    scale = b.pointer("scale", "float32", 1)
    y = b.pointer("y", "uint8", spec.y.size)
    with b.loop(spec.x.height) as row, b.loop(spec.x.width) as column:
        source = b.let(row * spec.x.row + column * spec.x.pixel + spec.x.start)
        result = b.let(row * spec.y.row + column * spec.y.pixel + spec.y.start)
        largest = b.register(const(0, "int32"))
        with b.loop(spec.x.channels) as i:
            largest.set(tirx.max(largest.value, cast(x.load(source + i), "int32")))
        shift = b.let(const(255, "int32") - largest.value)
        total = b.register(const(0.0, "float32"))
        with b.loop(spec.x.channels) as i:
            total.set(total.value + entries.load(cast(x.load(source + i), "int32") + shift))
        with b.loop(spec.x.channels) as i:
            value = entries.load(cast(x.load(source + i), "int32") + shift)
            quotient = b.let(rounded(value * scale.load(0)) / total.value)
            # the quotient is not negative; its rounding and the zero point's addition are apart
            y.store(result + i, to_8_bits(quotient, spec.y_zero_point, False))
    return b.finish()
