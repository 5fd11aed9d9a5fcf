"""INT8 depthwise convolution (QLinearConv with one channel a group)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels import int8_conv, vnni_depthwise
from hwnas.kernels.builder import KernelBuilder, Value, cast, kernel_name, lanes_of
from hwnas.kernels.depthwise_loops import Depthwise, Tile, emit_depthwise
from hwnas.kernels.image import THREE, Image, Window, check_window
from hwnas.kernels.requantise import scaled_to_8_bits, storage
from hwnas.kernels.sweep import lanes_for
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Int8Depthwise:
    """As `Int8Conv` with groups = channels. Parameters of the kernel: x, weights, bias (int32), scale (f32), y."""

    x: Image
    y: Image
    window: Window = THREE
    y_zero_point: int = 0
    x_signed: bool = False
    y_signed: bool = False

    def __post_init__(self) -> None:
        check_window("int8 depthwise convolution", self.x, self.y, self.window)
        if self.x.channels != self.y.channels:
            raise HwnasError(f"int8 depthwise convolution: channels must not change, got {self}")
        if self.window.taps * 255 * 128 >= 2**31:
            raise HwnasError(f"int8 depthwise convolution: {self.window.taps} taps overflow the int32 accumulator")

    @property
    def macs(self) -> int:
        return self.y.height * self.y.width * self.y.channels * self.window.taps

    @property
    def as_conv(self) -> int8_conv.Int8Conv:
        """The same operator as a grouped convolution, which is its reference."""
        return int8_conv.Int8Conv(
            self.x, self.y, self.window, self.x.channels, self.y_zero_point, self.x_signed, self.y_signed
        )


def reference(
    spec: Int8Depthwise,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    scale: np.ndarray,
    x_zero_point: int,
) -> np.ndarray:
    """x [H, W, C], weight [C, 1, KH, KW] -> y [OH, OW, C]."""
    return int8_conv.reference(spec.as_conv, x, weight, bias, scale, x_zero_point)


def pack(
    spec: Int8Depthwise,
    target: Target,
    weight: np.ndarray,
    bias: np.ndarray | None,
    scale: np.ndarray,
    x_zero_point: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(weights, bias, scale) with the input's zero point folded into the bias: int16 [KH * KW, C] or VNNI's layout."""
    if _by_vnni(spec, target):
        order = vnni_depthwise.lane_channels(spec.x.channels)
        folded = int8_conv.folded_bias(weight, bias, x_zero_point, 128 if spec.x_signed else 0, spec.x_signed)
        return vnni_depthwise.pack_weights(weight), folded[order], scale.astype(np.float32)[order]
    folded = int8_conv.folded_bias(weight, bias, x_zero_point, 0, spec.x_signed)
    taps = weight.reshape(spec.x.channels, spec.window.taps).T.astype(np.int16)
    return np.ascontiguousarray(taps).reshape(-1), folded, scale.astype(np.float32)


def tiles(spec: Int8Depthwise, target: Target) -> list[Tile]:
    """Runs of columns worth timing, the best guess first."""
    if _by_vnni(spec, target):
        return [Tile(columns) for columns in dict.fromkeys(min(columns, spec.y.width) for columns in (4, 5, 2, 7))]
    return [Tile(min(columns, spec.y.width)) for columns in (4, 7, 2, 1)]


def _by_vnni(spec: Int8Depthwise, target: Target) -> bool:
    return target.has_vnni and spec.x.channels >= vnni_depthwise.SMALLEST


def _build_vnni(spec: Int8Depthwise, tile: Tile) -> Any:
    b = KernelBuilder(kernel_name(spec, tile))
    lanes = vnni_depthwise.lane_channels(spec.x.channels).size
    kh, kw = spec.window.kernel
    vnni_depthwise.VnniDepthwise(
        b=b,
        x=spec.x,
        y=spec.y,
        window=spec.window,
        columns=tile.columns,
        zero_point=spec.y_zero_point,
        x_signed=spec.x_signed,
        y_signed=spec.y_signed,
        source=b.pointer("x", storage(spec.x_signed), spec.x.size),
        weights=b.pointer("weights", "int8", -(-kh // 4) * 4 * kw * lanes),
        bias=b.pointer("bias", "int32", lanes),
        scale=b.pointer("scale", "float32", lanes),
        result=b.pointer("y", storage(spec.y_signed), spec.y.size),
    ).emit()
    return b.finish()


def build(spec: Int8Depthwise, target: Target, tile: Tile | None = None) -> Any:
    """The kernel: f(x, weights, bias, scale, y)."""
    tile = tile or tiles(spec, target)[0]
    if _by_vnni(spec, target):
        return _build_vnni(spec, tile)
    channels = spec.x.channels
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", storage(spec.x_signed), spec.x.size)
    weights = b.pointer("weights", "int16", spec.window.taps * channels)
    bias = b.pointer("bias", "int32", channels)
    scale = b.pointer("scale", "float32", channels)
    y = b.pointer("y", storage(spec.y_signed), spec.y.size)

    def finish(channel: Value, index: Value, acc: Value) -> None:
        factors = scale.load(channel, lanes_of(acc))
        y.store(index, scaled_to_8_bits(b, acc, factors, spec.y_zero_point, spec.y_signed))

    element = Depthwise(
        activation=lambda index, lanes: cast(x.load(index, lanes), "int16"),
        weight=weights.load,
        start=bias.load,
        # 255 * -128 fits 16 bits, so the product needs no widening
        accumulate=lambda acc, activation, weight: acc + cast(activation * weight, "int32"),
        finish=finish,
    )
    emit_depthwise(b, spec.x, spec.y, spec.window, lanes_for(target, 32), tile, element)
    return b.finish()
