"""Float32 values to 8 bits exactly as ONNX Runtime's QLinear operators do it.

    y = saturate(round_half_even(float32(acc) * scale) + zero_point)

ONNX Runtime clamps before it rounds (the bounds are whole numbers, so the order does not matter) and so do we.
Rounding is the addition of 1.5 * 2^23: in the default rounding mode the sum's low mantissa bits are the integer,
rounded half to even, in two's complement, on every target with IEEE single precision.
"""

from __future__ import annotations

import numpy as np
from tvm import tirx

from hwnas.kernels.builder import KernelBuilder, Value, cast, const, lanes_of, reinterpret, vector_type

_ROUNDER = 12582912.0  # 1.5 * 2^23; the low byte of its bits is zero


def bounds(signed: bool) -> tuple[int, int]:
    """The smallest and the largest 8-bit value."""
    return (-128, 127) if signed else (0, 255)


def storage(signed: bool) -> str:
    """The TIR and numpy name of the 8-bit type."""
    return "int8" if signed else "uint8"


def reference(value: np.ndarray, zero_point: int, signed: bool) -> np.ndarray:
    """Float32 values, already divided by the output's scale, to 8 bits."""
    low, high = bounds(signed)
    clamped = np.clip(value.astype(np.float32), np.float32(low - zero_point), np.float32(high - zero_point))
    return (np.rint(clamped).astype(np.int32) + zero_point).astype(storage(signed))


def to_8_bits(value: Value, zero_point: int, signed: bool) -> Value:
    """The expression of `reference` for a float32 vector."""
    lanes = lanes_of(value)
    low, high = bounds(signed)
    value = tirx.max(value, const(float(low - zero_point), "float32", lanes))
    value = tirx.min(value, const(float(high - zero_point), "float32", lanes))
    whole = reinterpret(value + const(_ROUNDER, "float32", lanes), vector_type("int32", lanes))
    if zero_point:
        whole = whole + const(zero_point, "int32", lanes)
    return cast(whole, storage(signed))


def scaled_to_8_bits(b: KernelBuilder, acc: Value, scale: Value, zero_point: int, signed: bool) -> Value:
    """Int32 `acc` times float32 `scale` (rounded: nothing may be contracted), to 8 bits."""
    product = b.let(cast(acc, "float32") * scale)
    return to_8_bits(product, zero_point, signed)
