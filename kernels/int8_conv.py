"""INT8 convolution (QLinearConv): u8 or s8 activations, s8 weights, int32 accumulators, per-channel requantisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Value, cast, kernel_name
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
from hwnas.kernels.int8_dot import choose_dot, zero_point_shift
from hwnas.kernels.requantise import reference as requantised
from hwnas.kernels.requantise import scaled_to_8_bits, storage
from hwnas.kernels.store import store_first
from hwnas.kernels.target import Target
from hwnas.kernels.x86_narrow import has_narrow, narrow


@dataclass(frozen=True)
class Int8Conv:
    """y = saturate(round(f32(sum (x - zx) * w + bias) * scale[o]) + zy), any groups.

    The input's halo holds zx. Parameters of the kernel: x, weights, bias (int32), scale (f32), y.
    """

    x: Image
    y: Image
    window: Window = POINT
    groups: int = 1
    y_zero_point: int = 0
    x_signed: bool = False
    y_signed: bool = False

    def __post_init__(self) -> None:
        check_window("int8 convolution", self.x, self.y, self.window)
        if self.x.channels % self.groups or self.y.channels % self.groups:
            raise HwnasError(f"int8 convolution: channels must divide into {self.groups} groups, got {self}")
        depth = self.x.channels // self.groups * self.window.taps
        if depth * 255 * 128 >= 2**31:
            raise HwnasError(
                f"int8 convolution: {depth} products of 255 * -128 overflow the int32 accumulator",
                hint=f"at most {(2**31 - 1) // (255 * 128)} products per output are safe",
            )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        outputs = self.y.height * self.y.width * self.y.channels
        return outputs * self.window.taps * (self.x.channels // self.groups)

    @property
    def conv(self) -> Conv:
        whole = Conv(self.x, self.y, self.window, self.groups)
        return Conv(long_row(self.x), long_row(self.y), self.window, self.groups) if flattened(whole) else whole


def reference(
    spec: Int8Conv, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, scale: np.ndarray, x_zero_point: int
) -> np.ndarray:
    """x [H, W, C], weight [O, C / groups, KH, KW], bias int32 [O], scale = s_x * s_w / s_y f32 [O] -> y [OH, OW, O]."""
    acc = accumulators(spec, x, weight, x_zero_point)
    if bias is not None:
        acc = acc + bias.astype(np.int64)
    return requantised(acc.astype(np.float32) * scale.astype(np.float32), spec.y_zero_point, spec.y_signed)


def accumulators(spec: Int8Conv, x: np.ndarray, weight: np.ndarray, x_zero_point: int) -> np.ndarray:
    """The exact integer sums [OH, OW, O], before bias."""
    centred = padded(x.astype(np.int64) - x_zero_point, spec.window, 0)
    taps = patches(centred, spec.window)
    sums = []
    for group in range(spec.groups):
        part = taps[..., group * (taps.shape[-1] // spec.groups) : (group + 1) * (taps.shape[-1] // spec.groups)]
        kernel = np.split(weight.astype(np.int64), spec.groups)[group]
        # float64 holds every sum exactly (below 2^31) and multiplies fast
        flat = kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0]).astype(np.float64)
        sums.append(part.reshape(*part.shape[:2], -1).astype(np.float64) @ flat)
    return np.concatenate(sums, axis=-1).astype(np.int64)


def pack(
    spec: Int8Conv, target: Target, weight: np.ndarray, bias: np.ndarray | None, scale: np.ndarray, x_zero_point: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(weights, bias, scale) as the kernel reads them: the input's zero point is folded into the bias."""
    conv = spec.conv
    dot = choose_dot(target, conv, spec.x_signed)
    folded = folded_bias(weight, bias, x_zero_point, zero_point_shift(dot), spec.x_signed)
    lanes = pack_lanes(conv, dot, folded), pack_lanes(conv, dot, scale.astype(np.float32))
    return pack_weights(conv, dot, weight), *lanes


def folded_bias(
    weight: np.ndarray, bias: np.ndarray | None, x_zero_point: int, shift: int, x_signed: bool
) -> np.ndarray:
    """bias - (zx + shift) * sum(w), int32; refuses a bias with which an accumulator could overflow."""
    flat = weight.reshape(weight.shape[0], -1).astype(np.int64)
    given = np.zeros(weight.shape[0], np.int64) if bias is None else bias.astype(np.int64)
    low, high = (-128, 127) if x_signed else (0, 255)
    extremes = [
        np.where(flat > 0, most, least).astype(np.int64) * flat
        for most, least in ((high - x_zero_point, low - x_zero_point), (low - x_zero_point, high - x_zero_point))
    ]
    if any(np.abs(given + extreme.sum(axis=1)).max() >= 2**31 for extreme in extremes):
        raise HwnasError("int8 weights and bias: an accumulator could leave the int32 range", hint="reduce the bias")
    # two's complement: the packed bias may wrap, the accumulator wraps back
    return (
        (given - (x_zero_point + shift) * flat.sum(axis=1))
        .astype(np.int64)
        .astype(np.uint64)
        .astype(np.uint32)
        .view(np.int32)
    )


def tiles(spec: Int8Conv, target: Target) -> list[Tile]:
    """Register tiles worth timing, the best guess first."""
    return even_columns(spec.conv, choose_dot(target, spec.conv, spec.x_signed), target)


def build(spec: Int8Conv, target: Target, tile: Tile | None = None) -> Any:
    """The kernel: f(x, weights, bias, scale, y)."""
    tile = tile or tiles(spec, target)[0]
    conv = spec.conv
    dot = choose_dot(target, conv, spec.x_signed)
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", storage(spec.x_signed), spec.x.size)
    weights = b.pointer("weights", dot.weight_dtype, conv.weights_size(dot))
    bias = b.pointer("bias", "int32", conv.lanes_size(dot))
    scale = b.pointer("scale", "float32", conv.lanes_size(dot))
    y = b.pointer("y", storage(spec.y_signed), spec.y.size)

    def finish(place: Place, accs: list[Value]) -> None:
        factors = [scale.load(place.lane + v * dot.lanes, dot.lanes) for v in range(len(accs))]
        index, packable = place.index(conv.y), has_narrow(target) and dot.lanes == 16
        for v in range(0, len(accs), 4) if packable else []:
            products = [b.let(cast(a, "float32") * f) for a, f in zip(accs[v : v + 4], factors[v : v + 4], strict=True)]
            count = min(place.count - v * 16, 64)
            store_first(b, y, index + v * 16, narrow(b, products, spec.y_zero_point, spec.y_signed), count)
        for v in range(len(accs)) if not packable else []:
            value = scaled_to_8_bits(b, accs[v], factors[v], spec.y_zero_point, spec.y_signed)
            store_first(b, y, index + v * dot.lanes, value, min(place.count - v * dot.lanes, dot.lanes))

    emit_conv(b, conv, dot, tile, x, weights, lambda lane: bias.load(lane, dot.lanes), finish)
    return b.finish()
