"""Unary functions in float32, exactly as ONNX Runtime evaluates them, and the 256-entry tables made of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
F32 = np.float32


def relu(x: Float) -> Float:
    """max(x, 0)."""
    return np.maximum(x, F32(0))


def clip(x: Float, low: float, high: float) -> Float:
    """min(max(x, low), high)."""
    return np.minimum(np.maximum(x, F32(low)), F32(high))


def hard_sigmoid(x: Float, alpha: float = 0.2, beta: float = 0.5) -> Float:
    """max(0, min(1, alpha * x + beta)), multiply then add: two float32 roundings."""
    return np.maximum(np.minimum(F32(alpha) * x + F32(beta), F32(1)), F32(0))


def hard_swish(x: Float) -> Float:
    """x * hard_sigmoid(x, 1/6, 1/2): the function body that ONNX gives HardSwish."""
    return x * hard_sigmoid(x, 1.0 / 6.0, 0.5)


def sigmoid(x: Float) -> Float:
    """1 / (1 + exp(-x)), rounded once from double precision."""
    return (1.0 / (1.0 + np.exp(-x.astype(np.float64)))).astype(F32)


def tanh(x: Float) -> Float:
    """tanh(x), rounded once from double precision."""
    return np.tanh(x.astype(np.float64)).astype(F32)


def leaky_relu(x: Float, alpha: float) -> Float:
    """x where x >= 0, alpha * x elsewhere."""
    return np.where(x >= 0, x, F32(alpha) * x).astype(F32)


def quantise(x: Float, scale: float, zero_point: int, low: int, high: int) -> NDArray[np.int64]:
    """QuantizeLinear: round half to even of x / scale, plus the zero point, saturated to [low, high]."""
    with np.errstate(over="ignore"):  # what leaves float32 saturates
        codes = np.clip(np.rint(x / F32(scale)), low - zero_point, high - zero_point)
    return codes.astype(np.int64) + zero_point


def dequantise(q: NDArray[np.int64], scale: float, zero_point: int) -> Float:
    """DequantizeLinear: (q - zero_point) * scale in float32."""
    return ((q - zero_point).astype(F32) * F32(scale)).astype(F32)


def integer_range(kind: str) -> tuple[int, int]:
    """The least and the greatest integer of a value kind (u8 or i8)."""
    return (0, 255) if kind == "u8" else (-128, 127)


def table(
    function: Callable[[Float], Float],
    kinds: tuple[str, str],
    scales: tuple[float, float],
    zero_points: tuple[int, int],
) -> NDArray[np.uint8]:
    """The bytes of quantise(function(dequantise(q))), indexed by the input's byte (0..255).

    Pairs are (input, output). For an i8 input, entry 128 is the answer for -128.
    """
    codes = np.arange(256, dtype=np.int64)
    if kinds[0] == "i8":
        codes = codes.astype(np.uint8).view(np.int8).astype(np.int64)
    real = function(dequantise(codes, scales[0], zero_points[0]))
    low, high = integer_range(kinds[1])
    return quantise(real, scales[1], zero_points[1], low, high).astype(np.uint8)
