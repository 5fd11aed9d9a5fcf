"""Float32 depthwise convolution with bias and activation in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels import fp32_conv
from hwnas.kernels.activation import activated, check_activation
from hwnas.kernels.builder import KernelBuilder, Value, kernel_name
from hwnas.kernels.depthwise_loops import Depthwise, Tile, emit_depthwise
from hwnas.kernels.image import THREE, Image, Window, check_window
from hwnas.kernels.sweep import lanes_for
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Fp32Depthwise:
    """y = activation(conv(x) + bias), one channel a group; the input's halo holds 0.

    Parameters of the kernel: x, weights, bias, y.
    """

    x: Image
    y: Image
    window: Window = THREE
    activation: str = "none"

    def __post_init__(self) -> None:
        check_window("fp32 depthwise convolution", self.x, self.y, self.window)
        check_activation(self.activation)
        if self.x.channels != self.y.channels:
            raise HwnasError(f"fp32 depthwise convolution: channels must not change, got {self}")

    @property
    def macs(self) -> int:
        return self.y.height * self.y.width * self.y.channels * self.window.taps


def reference(spec: Fp32Depthwise, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """x [H, W, C], weight [C, 1, KH, KW] -> y [OH, OW, C]."""
    conv = fp32_conv.Fp32Conv(spec.x, spec.y, spec.window, spec.x.channels, spec.activation)
    return fp32_conv.reference(conv, x, weight, bias)


def pack(
    spec: Fp32Depthwise, target: Target, weight: np.ndarray, bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(weights [KH * KW, C], bias)"""
    taps = weight.reshape(spec.x.channels, spec.window.taps).T.astype(np.float32)
    given = np.zeros(spec.x.channels, np.float32) if bias is None else bias.astype(np.float32)
    return np.ascontiguousarray(taps).reshape(-1), given


def tiles(spec: Fp32Depthwise, target: Target) -> list[Tile]:
    """Runs of columns worth timing, the best guess first."""
    return [Tile(min(columns, spec.y.width)) for columns in (4, 7, 2, 1)]


def build(spec: Fp32Depthwise, target: Target, tile: Tile | None = None) -> Any:
    """The kernel: f(x, weights, bias, y)."""
    tile = tile or tiles(spec, target)[0]
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", "float32", spec.x.size)
    weights = b.pointer("weights", "float32", spec.window.taps * spec.x.channels)
    bias = b.pointer("bias", "float32", spec.x.channels)
    y = b.pointer("y", "float32", spec.y.size)

    def finish(channel: Value, index: Value, acc: Value) -> None:
        y.store(index, activated(b, target, acc, spec.activation))

    element = Depthwise(
        activation=x.load,
        weight=weights.load,
        start=bias.load,
        accumulate=lambda acc, activation, weight: acc + activation * weight,
        finish=finish,
    )
    emit_depthwise(b, spec.x, spec.y, spec.window, lanes_for(target, 32), tile, element)
    return b.finish()
