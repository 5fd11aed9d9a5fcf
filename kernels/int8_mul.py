"""INT8 product of an image and one value a channel (QLinearMul after squeeze-excite), or of two images.

y = saturate(round(f32((a - z_a) * (b - z_b)) * (s_a * s_b / s_y) + z_y)): product and sum are rounded apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Value, broadcast, cast, const, kernel_name, rounded
from hwnas.kernels.image import Image
from hwnas.kernels.requantise import reference as requantised
from hwnas.kernels.requantise import storage, to_8_bits
from hwnas.kernels.sweep import lanes_for, sweep_channels
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Int8Mul:
    """Parameters of the kernel: a, b, ratio (f32 [1]), y. `b` is as large as `a` or 1x1 (broadcast over pixels)."""

    a: Image
    b: Image
    y: Image
    a_zero_point: int = 0
    b_zero_point: int = 0
    y_zero_point: int = 0
    signed: bool = False

    def __post_init__(self) -> None:
        if self.a.shape != self.y.shape or self.b.shape not in (self.a.shape, (1, 1, self.a.channels)):
            raise HwnasError(f"int8 product: b must be {self.a.shape} or (1, 1, {self.a.channels}), got {self.b.shape}")


def ratio(scales: tuple[float, float, float]) -> np.ndarray:
    """[s_a * s_b / s_y] in float32, in this order."""
    s_a, s_b, s_y = (np.float32(scale) for scale in scales)
    return np.array([np.float32(s_a * s_b) / s_y], np.float32)


def reference(spec: Int8Mul, a: np.ndarray, b: np.ndarray, constants: np.ndarray) -> np.ndarray:
    """a [H, W, C], b [H, W, C] or [1, 1, C], the constant of `ratio` -> y [H, W, C]."""
    product = (a.astype(np.int32) - spec.a_zero_point) * (b.astype(np.int32) - spec.b_zero_point)
    value = product.astype(np.float32) * constants[0] + np.float32(spec.y_zero_point)
    return requantised(value, 0, spec.signed)


def pack(spec: Int8Mul, target: Target, scales: tuple[float, float, float]) -> tuple[np.ndarray]:
    """(ratio,)"""
    return (ratio(scales),)


def tiles(spec: Int8Mul, target: Target) -> list[None]:
    return [None]


def build(spec: Int8Mul, target: Target, tile: None = None) -> Any:
    """The kernel: f(a, b, ratio, y)."""
    builder = KernelBuilder(kernel_name(spec, tile))
    kind = storage(spec.signed)
    a = builder.pointer("a", kind, spec.a.size)
    b = builder.pointer("b", kind, spec.b.size)
    constants = builder.pointer("ratio", "float32", 1)
    y = builder.pointer("y", kind, spec.y.size)
    scale = builder.let(constants.load(0))
    broadcast_b = spec.b.shape != spec.a.shape

    def body(index: list[Value], channel: Value, lanes: int) -> None:
        left = cast(a.load(index[0], lanes), "int32") - const(spec.a_zero_point, "int32", lanes)
        b_index = channel + spec.b.start if broadcast_b else index[2]
        right = cast(b.load(b_index, lanes), "int32") - const(spec.b_zero_point, "int32", lanes)
        product = cast(left * right, "float32") * broadcast(scale, lanes)
        value = rounded(product) + const(float(spec.y_zero_point), "float32", lanes)
        y.store(index[1], to_8_bits(value, 0, spec.signed))

    images = (spec.a, spec.y) if broadcast_b else (spec.a, spec.y, spec.b)
    sweep_channels(builder, images, lanes_for(target, 32), body)
    return builder.finish()
