"""Unary functions in float32, exactly as ONNX Runtime evaluates them, and the 256-entry tables made of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hwnas.kernels.functions import clip, hard_sigmoid, hard_swish, leaky_relu, relu, sigmoid, tanh

__all__ = [
    "Float",
    "clip",
    "dequantise",
    "hard_sigmoid",
    "hard_swish",
    "integer_range",
    "leaky_relu",
    "quantise",
    "relu",
    "sigmoid",
    "table",
    "tanh",
]

Float = NDArray[np.float32]
F32 = np.float32


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
