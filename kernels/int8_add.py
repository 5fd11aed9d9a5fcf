"""INT8 addition of two images with their own scales (QLinearAdd), bit-equal to ONNX Runtime on x86-64 and Arm.

    y = saturate(round(fma(a, s_a / s_y, fma(b, s_b / s_y, fixed))))
    fixed = z_y - fma(s_a / s_y, z_a, s_b / s_y * z_b)

The two fused multiply-adds are ONNX Runtime's; where a target has none the same value comes from float64: a product
of 8 by 24 bits and its sum are exact there (for scale ratios above 2^-20), so only the final rounding remains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.kernels.builder import KernelBuilder, Value, broadcast, cast, intrinsic, kernel_name, lanes_of, vector_type
from hwnas.kernels.image import Image, check_same_shape
from hwnas.kernels.requantise import reference as requantised
from hwnas.kernels.requantise import storage, to_8_bits
from hwnas.kernels.sweep import lanes_for, sweep_elements
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Int8Add:
    """Parameters of the kernel: a, b, ratios (f32 [3]), y; all three of the same type."""

    a: Image
    b: Image
    y: Image
    signed: bool = False

    def __post_init__(self) -> None:
        check_same_shape("int8 addition", self.a, self.b, self.y)


def ratios(scales: tuple[float, float, float], zero_points: tuple[int, int, int]) -> np.ndarray:
    """(s_a / s_y, s_b / s_y, fixed) in float32 from the scales and zero points of a, b and y.

    ONNX Runtime's compiler fuses the first product of `fixed` with the sum; float64 holds both exactly.
    """
    s_a, s_b, s_y = (np.float32(scale) for scale in scales)
    ratio_a, ratio_b = np.float32(s_a / s_y), np.float32(s_b / s_y)
    second = np.float32(ratio_b * np.float32(zero_points[1]))
    offset = np.float32(np.float64(ratio_a) * zero_points[0] + np.float64(second))
    return np.array([ratio_a, ratio_b, np.float32(zero_points[2]) - offset], np.float32)


def reference(spec: Int8Add, a: np.ndarray, b: np.ndarray, constants: np.ndarray) -> np.ndarray:
    """a, b [H, W, C] and the constants of `ratios` -> y [H, W, C]."""
    ratio_a, ratio_b, fixed = constants.astype(np.float64)
    inner = (b.astype(np.float64) * ratio_b + fixed).astype(np.float32)
    value = (a.astype(np.float64) * ratio_a + inner.astype(np.float64)).astype(np.float32)
    return requantised(value, 0, spec.signed)


def pack(
    spec: Int8Add, target: Target, scales: tuple[float, float, float], zero_points: tuple[int, int, int]
) -> tuple[np.ndarray]:
    """(ratios,)"""
    return (ratios(scales, zero_points),)


def tiles(spec: Int8Add, target: Target) -> list[None]:
    return [None]


def fused(target: Target, a: Value, b: Value, c: Value) -> Value:
    """a * b + c with one rounding, float32 vectors."""
    if target.has_fma:
        return intrinsic(vector_type("float32", lanes_of(a)), "llvm.fma", a, b, c)
    return cast(cast(a, "float64") * cast(b, "float64") + cast(c, "float64"), "float32")


def build(spec: Int8Add, target: Target, tile: None = None) -> Any:
    """The kernel: f(a, b, ratios, y)."""
    builder = KernelBuilder(kernel_name(spec, tile))
    kind = storage(spec.signed)
    a = builder.pointer("a", kind, spec.a.size)
    b = builder.pointer("b", kind, spec.b.size)
    constants = builder.pointer("ratios", "float32", 3)
    y = builder.pointer("y", kind, spec.y.size)
    ratio_a, ratio_b, fixed = (builder.let(constants.load(i)) for i in range(3))

    def body(index: list[Value], channel: Value, lanes: int) -> None:
        left = cast(a.load(index[0], lanes), "float32")
        right = cast(b.load(index[1], lanes), "float32")
        inner = fused(target, right, broadcast(ratio_b, lanes), broadcast(fixed, lanes))
        value = fused(target, left, broadcast(ratio_a, lanes), inner)
        y.store(index[2], to_8_bits(value, 0, spec.signed))

    sweep_elements(builder, (spec.a, spec.b, spec.y), lanes_for(target, 32), body)
    return builder.finish()
