"""Any function of one 8-bit value by a table of 256: hard-swish, sigmoid, requantisation between scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import unknown
from hwnas.kernels import functions
from hwnas.kernels.builder import KernelBuilder, Value, cast, const, intrinsic, kernel_name, reinterpret
from hwnas.kernels.image import Image, check_same_shape
from hwnas.kernels.requantise import reference as requantised
from hwnas.kernels.sweep import sweep_elements
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Lut256:
    """Parameters of the kernel: x (u8), table (u8 [256]), y (u8). `x` and `y` may be one buffer."""

    x: Image
    y: Image

    def __post_init__(self) -> None:
        check_same_shape("lut256", self.x, self.y)


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": functions.identity,
    "relu": functions.relu,
    "hard_sigmoid": functions.hard_gate,
    "hard_swish": functions.hard_swish,
    "sigmoid": functions.sigmoid,
}


def table(
    function: str | Callable[[np.ndarray], np.ndarray],
    x_scale: float,
    x_zero_point: int,
    y_scale: float,
    y_zero_point: int,
) -> np.ndarray:
    """u8 [256]: dequantise, apply a float32 function (by name or any), quantise, as ONNX Runtime builds its tables."""
    if isinstance(function, str):
        if function not in FUNCTIONS:
            raise unknown("table function", function, FUNCTIONS)
        function = FUNCTIONS[function]
    x = np.float32(x_scale) * (np.arange(256) - x_zero_point).astype(np.float32)
    return requantised(function(x).astype(np.float32) / np.float32(y_scale), y_zero_point, False)


def reference(spec: Lut256, x: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """x u8 [H, W, C], entries u8 [256] -> y u8 [H, W, C]."""
    return entries[x]


def pack(spec: Lut256, target: Target, entries: np.ndarray) -> tuple[np.ndarray]:
    """(table,)"""
    return (np.ascontiguousarray(entries, np.uint8),)


def tiles(spec: Lut256, target: Target) -> list[None]:
    return [None]


def lookup(b: KernelBuilder, target: Target, entries: Any) -> tuple[int, Callable[[Value], Value]]:
    """(lanes, function of a u8 vector of that many lanes) that reads the table `entries` (a Memory of 256 bytes)."""
    if target.has("avx512vbmi"):
        parts = [b.let(entries.load(64 * i, 64)) for i in range(4)]
        return 64, lambda value: _permute(b, parts, value)
    return 1, lambda value: entries.load(cast(value, "int32"))


def _permute(b: KernelBuilder, parts: list[Value], value: Value) -> Value:
    """Two 128-byte table reads (VPERMI2B uses the low 7 bits) and a choice by the top bit."""
    from tvm import tirx

    index = b.let(value)
    signed = reinterpret(index, "int8x64")
    name = "llvm.x86.avx512.vpermi2var.qi.512"
    low = intrinsic("uint8x64", name, parts[0], index, parts[1])
    high = intrinsic("uint8x64", name, parts[2], index, parts[3])
    return tirx.Select(signed < const(0, "int8", 64), high, low)


def build(spec: Lut256, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, table, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", "uint8", spec.x.size)
    entries = b.pointer("table", "uint8", 256)
    y = b.pointer("y", "uint8", spec.y.size)
    lanes, read = lookup(b, target, entries)

    def body(index: list[Value], channel: Value, size: int) -> None:
        if size == lanes:
            y.store(index[1], read(x.load(index[0], size)))
            return
        for i in range(size):
            y.store(index[1] + i, entries.load(cast(x.load(index[0] + i), "int32")))

    sweep_elements(b, (spec.x, spec.y), lanes, body)
    return b.finish()
