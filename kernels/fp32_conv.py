"""Float32 convolution with bias, activation and an optional residual addition in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.activation import activated, activated_reference, check_activation
from hwnas.kernels.builder import KernelBuilder, Memory, Value, broadcast, const, kernel_name
from hwnas.kernels.direct_conv import (
    Conv,
    Place,
    Tile,
    emit_conv,
    even_columns,
    flattened,
    long_row,
    pack_lanes,
    pack_weights,
)
from hwnas.kernels.image import POINT, Image, Window, check_window, padded, patches
from hwnas.kernels.store import load_first, store_first
from hwnas.kernels.sweep import lanes_for
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Fp32Conv:
    """y = activation(conv(x) + bias) [+ residual], any groups; the input's halo holds 0.

    Parameters of the kernel: x, weights, bias, residual (where there is one), y.
    """

    x: Image
    y: Image
    window: Window = POINT
    groups: int = 1
    activation: str = "none"
    residual: Image | None = None

    def __post_init__(self) -> None:
        check_window("fp32 convolution", self.x, self.y, self.window)
        check_activation(self.activation)
        if self.x.channels % self.groups or self.y.channels % self.groups:
            raise HwnasError(f"fp32 convolution: channels must divide into {self.groups} groups, got {self}")
        if self.residual is not None and self.residual.shape != self.y.shape:
            raise HwnasError(f"fp32 convolution: the residual must be {self.y.shape}, got {self.residual.shape}")

    @property
    def macs(self) -> int:
        outputs = self.y.height * self.y.width * self.y.channels
        return outputs * self.window.taps * (self.x.channels // self.groups)

    @property
    def conv(self) -> Conv:
        whole = Conv(self.x, self.y, self.window, self.groups)
        if not flattened(whole, *(() if self.residual is None else (self.residual,))):
            return whole
        return Conv(long_row(self.x), long_row(self.y), self.window, self.groups)


def reference(
    spec: Fp32Conv, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, residual: np.ndarray | None = None
) -> np.ndarray:
    """x [H, W, C], weight [O, C / groups, KH, KW] -> y [OH, OW, O] in float32, summed in float64.

    A kernel sums N products in float32 in another order: it may differ by N * 2^-23 of the sum of magnitudes.
    """
    taps = patches(padded(x.astype(np.float64), spec.window, 0.0), spec.window)
    parts = np.split(taps, spec.groups, axis=-1)
    sums = []
    for part, kernel in zip(parts, np.split(weight.astype(np.float64), spec.groups), strict=True):
        flat = kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0])
        sums.append(part.reshape(*part.shape[:2], -1) @ flat)
    y = np.concatenate(sums, axis=-1) + (0.0 if bias is None else bias.astype(np.float64))
    y = activated_reference(y, spec.activation)
    return (y + (0.0 if residual is None else residual.astype(np.float64))).astype(np.float32)


@dataclass(frozen=True)
class Fma:
    """One channel a step: the activation in every lane times a vector of weights."""

    lanes: int
    step: int = 1
    weight_dtype: str = "float32"
    order: tuple[int, ...] = (0,)

    def zero(self) -> Value:
        return const(0.0, "float32", self.lanes)

    def activation(self, b: KernelBuilder, memory: Memory, index: Value) -> Value:
        return broadcast(memory.load(index), self.lanes)

    def accumulate(self, acc: Value, activation: Value, weight: Value) -> Value:
        return acc + activation * weight


def pack(spec: Fp32Conv, target: Target, weight: np.ndarray, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(weights, bias)"""
    dot = Fma(lanes_for(target, 32))
    given = np.zeros(spec.y.channels, np.float32) if bias is None else bias.astype(np.float32)
    return pack_weights(spec.conv, dot, weight.astype(np.float32)), pack_lanes(spec.conv, dot, given)


def tiles(spec: Fp32Conv, target: Target) -> list[Tile]:
    """Register tiles worth timing, the best guess first."""
    dot = Fma(lanes_for(target, 32))
    return even_columns(spec.conv, dot, target)


def build(spec: Fp32Conv, target: Target, tile: Tile | None = None) -> Any:
    """The kernel: f(x, weights, bias, [residual,] y)."""
    tile = tile or tiles(spec, target)[0]
    conv, dot = spec.conv, Fma(lanes_for(target, 32))
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", "float32", spec.x.size)
    weights = b.pointer("weights", "float32", conv.weights_size(dot))
    bias = b.pointer("bias", "float32", conv.lanes_size(dot))
    residual = b.pointer("residual", "float32", spec.residual.size) if spec.residual is not None else None
    y = b.pointer("y", "float32", spec.y.size)

    def finish(place: Place, accs: list[Value]) -> None:
        for first, acc in zip(range(0, place.count, dot.lanes), accs, strict=True):
            count = min(dot.lanes, place.count - first)
            value = activated(b, target, acc, spec.activation)
            if residual is not None and spec.residual is not None:
                image = long_row(spec.residual) if conv.y != spec.y else spec.residual
                value = value + load_first(residual, place.index(image) + first, dot.lanes, count)
            store_first(b, y, place.index(conv.y) + first, value, count)

    emit_conv(b, conv, dot, tile, x, weights, lambda lane: bias.load(lane, dot.lanes), finish)
    return b.finish()
