"""Cases of the INT8 and fp32 kernels: a spec, its data, its reference's answer, and a check of the whole buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from hwnas.kernels import (
    concat,
    dequantize,
    fp32_activation,
    fp32_binary,
    fp32_conv,
    fp32_depthwise,
    fp32_pool,
    fp32_softmax,
    int8_add,
    int8_average_pool,
    int8_conv,
    int8_depthwise,
    int8_global_pool,
    int8_mul,
    int8_softmax,
    lut256,
    max_pool,
    quantize,
    transpose,
)
from hwnas.kernels.image import Image, Window
from hwnas.kernels.memory import aligned_copy
from hwnas.kernels.target import Target

_FILL = 99
# fp32 kernels sum in another order than the reference: N products of magnitude below 30 in these cases, N below 1000
_RELATIVE, _ABSOLUTE = 3e-5, 5e-4


@dataclass(frozen=True)
class Case:
    """One kernel call: `arguments` ends with the output buffer, filled with a marker."""

    function: Any
    arguments: tuple[np.ndarray, ...]
    y: Image
    planar: bool
    expected: np.ndarray

    @property
    def symbol(self) -> str:
        return str(self.function.attrs["global_symbol"])

    def problem(self) -> str:
        """What is wrong with the output buffer, or nothing."""
        buffer = self.arguments[-1]
        if self.planar:
            got = buffer.reshape(self.y.channels, self.y.height, self.y.width).transpose(1, 2, 0)
        else:
            got = self.y.extract(buffer)
            if not np.array_equal(self.y.embed(got, _FILL), buffer):
                return f"{self.symbol} wrote outside the interior"
        if got.dtype == np.float32:
            same = np.allclose(got, self.expected, _RELATIVE, _ABSOLUTE)
        else:
            same = np.array_equal(got, self.expected)
        return "" if same else f"{self.symbol} differs by {np.abs(got.astype(float) - self.expected).max()}"


class Maker:
    """Draws cases for one target."""

    def __init__(self, rng: np.random.Generator, target: Target) -> None:
        self.rng = rng
        self.target = target

    def u8(self, *shape: int) -> np.ndarray:
        """Random bytes with many extremes."""
        return self.rng.choice(np.array([0, 255, 0, 255, 1, 127, 128, *range(256)], np.uint8), shape)

    def s8(self, *shape: int) -> np.ndarray:
        return self.rng.choice(np.array([-128, 127, -127, -128, 127, *range(-128, 128)], np.int8), shape)

    def f32(self, *shape: int) -> np.ndarray:
        return (self.rng.standard_normal(shape) * 3).astype(np.float32)

    def case(
        self,
        module: ModuleType,
        spec: Any,
        inputs: Sequence[np.ndarray],
        packed: Sequence[np.ndarray],
        expected: np.ndarray,
        fill: float = 77,
        images: Sequence[Image] = (),
        tile: Any = None,
        extra: Sequence[np.ndarray] = (),
        planar: tuple[bool, bool] = (False, False),
    ) -> Case:
        """Embeds the inputs into `images` and pairs them with the built kernel. `planar`: (input, output) are NCHW."""
        embedded = [
            np.ascontiguousarray(x.transpose(2, 0, 1)).reshape(-1) if planar[0] else image.embed(x, fill)
            for image, x in zip(images, inputs, strict=True)
        ]
        y = np.full(spec.y.size, _FILL, expected.dtype)
        arguments = tuple(aligned_copy(array) for array in (*embedded, *packed, *extra, y))
        return Case(module.build(spec, self.target, tile), arguments, spec.y, planar[1], expected)


def convolution_cases(
    m: Maker,
    height: int,
    width: int,
    channels: int,
    outputs: int,
    window: Window,
    groups: int = 1,
    signed: bool = False,
    all_tiles: bool = False,
) -> list[Case]:
    """INT8 and fp32 convolutions of one shape; `groups` 0 means depthwise."""
    high, wide = window.result(height, width)
    reach = window.reach(height, width)
    halo = (reach[0] + 1, reach[1], reach[2], reach[3] + 2) if window.taps > 1 else (0, 0, 0, 0)
    outputs = channels if groups == 0 else outputs
    x = Image(height, width, channels, halo, (channels + 3) // 4 * 4 if groups == 1 else 0)
    y = Image(high, wide, outputs, (0, 1, 1, 0), outputs + outputs % 2)
    depth = 1 if groups == 0 else channels // groups
    weight = m.s8(outputs, depth, *window.kernel)
    bias = m.rng.integers(-9999, 9999, outputs).astype(np.int32)
    scale = (m.rng.random(outputs) * 0.02 / np.sqrt(depth * window.taps)).astype(np.float32)
    kind, zero = ("int8", -7) if signed else ("uint8", 9)
    pixels = m.u8(height, width, channels).view(kind)
    module: ModuleType = int8_depthwise if groups == 0 else int8_conv
    if groups == 0:
        spec: Any = int8_depthwise.Int8Depthwise(x, y, window, 5, signed, signed)
    else:
        spec = int8_conv.Int8Conv(x, y, window, groups, 5, signed, signed)
    packed = module.pack(spec, m.target, weight, bias, scale, zero)
    expected = module.reference(spec, pixels, weight, bias, scale, zero)
    tiles = module.tiles(spec, m.target) if all_tiles else [None]
    return [m.case(module, spec, [pixels], packed, expected, zero, [x], tile) for tile in tiles]


def float_convolution_cases(
    m: Maker,
    height: int,
    width: int,
    channels: int,
    outputs: int,
    window: Window,
    groups: int = 1,
    activation: str = "none",
) -> list[Case]:
    """fp32 convolutions of one shape, with and without a residual; `groups` 0 means depthwise."""
    high, wide = window.result(height, width)
    x = Image(height, width, channels, window.reach(height, width))
    outputs = channels if groups == 0 else outputs
    y = Image(high, wide, outputs, (1, 0, 0, 2))
    pixels, bias = m.f32(height, width, channels), m.f32(outputs)
    if groups == 0:
        weight = m.f32(channels, 1, *window.kernel)
        deep = fp32_depthwise.Fp32Depthwise(x, y, window, activation)
        packed = fp32_depthwise.pack(deep, m.target, weight, bias)
        return [
            m.case(fp32_depthwise, deep, [pixels], packed, fp32_depthwise.reference(deep, pixels, weight, bias), 0, [x])
        ]
    weight, shortcut = m.f32(outputs, channels // groups, *window.kernel), m.f32(high, wide, outputs)
    cases = []
    for residual in (None, Image(high, wide, outputs)):
        spec = fp32_conv.Fp32Conv(x, y, window, groups, activation, residual)
        packed = fp32_conv.pack(spec, m.target, weight, bias)
        expected = fp32_conv.reference(spec, pixels, weight, bias, None if residual is None else shortcut)
        extra = [] if residual is None else [residual.embed(shortcut, 0)]
        cases.append(m.case(fp32_conv, spec, [pixels], packed, expected, 0, [x], None, extra))
    return cases


def pointwise_cases(m: Maker, x: Image, y: Image) -> list[Case]:
    """Everything that keeps an image's size, on 8-bit values; `x` and `y` differ in halo and storage only."""
    a, b, gate = m.u8(*x.shape), m.u8(*x.shape), m.u8(1, 1, x.channels)
    flat, one = Image(*x.shape), Image(1, 1, x.channels)
    scales, zeros = (0.02, 0.031, 0.04), (3, 128, 7)
    add = int8_add.Int8Add(x, flat, y)
    add_packed = int8_add.pack(add, m.target, scales, zeros)
    cases = [m.case(int8_add, add, [a, b], add_packed, int8_add.reference(add, a, b, *add_packed), 77, [x, flat])]
    for other, image in ((gate, one), (b, flat)):
        mul = int8_mul.Int8Mul(x, image, y, *zeros)
        constants = int8_mul.pack(mul, m.target, scales)
        cases.append(
            m.case(int8_mul, mul, [a, other], constants, int8_mul.reference(mul, a, other, *constants), 77, [x, image])
        )
    lut, entries = lut256.Lut256(x, y), lut256.table("hard_swish", 0.05, 20, 0.03, 7)
    cases.append(m.case(lut256, lut, [a], [entries], lut256.reference(lut, a, entries), 77, [x]))
    if x.channels > 1:
        soft = int8_softmax.Int8Softmax(x, y, 3)
        tables = int8_softmax.pack(soft, m.target, 0.02, 1 / 255)
        cases.append(m.case(int8_softmax, soft, [a], tables, int8_softmax.reference(soft, a, *tables), 77, [x]))
    pool = int8_global_pool.Int8GlobalPool(x, one, 3, 4)
    mean = int8_global_pool.pack(pool, m.target, 0.02, 0.013)
    cases.append(m.case(int8_global_pool, pool, [a], mean, int8_global_pool.reference(pool, a, *mean), 77, [x]))
    wide = Image(x.height, x.width, 2 * x.channels, (1, 0, 0, 1))
    both = concat.Concat((x, flat), wide, "uint8", (False, True))
    cases.append(m.case(concat, both, [a, b], [entries], concat.reference(both, [a, b], [entries]), 77, [x, flat]))
    return cases


def layout_cases(m: Maker, x: Image, y: Image) -> list[Case]:
    """Conversions between float32 and 8 bits and between NCHW and NHWC."""
    real, bytes_ = m.f32(*x.shape), m.u8(*x.shape)
    flat, scale = Image(*x.shape), np.array([0.013], np.float32)
    cases = []
    for planar in (False, True):
        source, result = (flat, y) if planar else (x, y)
        q = quantize.Quantize(source, result, 7, False, planar)
        cases.append(
            m.case(
                quantize, q, [real], [scale], quantize.reference(q, real, 0.013), 7, [source], planar=(planar, False)
            )
        )
        d = dequantize.Dequantize(x, flat if planar else y, 7, False, planar)
        cases.append(
            m.case(
                dequantize, d, [bytes_], [scale], dequantize.reference(d, bytes_, 0.013), 7, [x], planar=(False, planar)
            )
        )
    to_planar, from_planar = transpose.Transpose(x, flat, True), transpose.Transpose(flat, y)
    cases.append(m.case(transpose, to_planar, [real], [], real, 7, [x], planar=(False, True)))
    cases.append(m.case(transpose, from_planar, [real], [], real, 7, [flat], planar=(True, False)))
    return cases


def pool_cases(m: Maker, x: Image, window: Window) -> list[Case]:
    """Max and average pools with padding, with and without counting it."""
    y = Image(*window.result(x.height, x.width), x.channels, (1, 0, 2, 0))
    bytes_, real = m.u8(*x.shape), m.f32(*x.shape)
    largest, float_largest = max_pool.MaxPool(x, y, window), max_pool.MaxPool(x, y, window, "float32")
    cases = [
        m.case(max_pool, largest, [bytes_], [], max_pool.reference(largest, bytes_), 255, [x]),
        m.case(max_pool, float_largest, [real], [], max_pool.reference(float_largest, real), 1e9, [x]),
    ]
    for include in (False, True):
        mean = int8_average_pool.Int8AveragePool(x, y, window, include, 3, 4)
        scales = int8_average_pool.pack(mean, m.target, 0.02, 0.013)
        cases.append(
            m.case(
                int8_average_pool, mean, [bytes_], scales, int8_average_pool.reference(mean, bytes_, *scales), 255, [x]
            )
        )
        real_mean = fp32_pool.Fp32AveragePool(x, y, window, include)
        cases.append(m.case(fp32_pool, real_mean, [real], [], fp32_pool.reference(real_mean, real), 1e9, [x]))
    return cases


def float_pointwise_cases(m: Maker, x: Image, y: Image) -> list[Case]:
    """fp32 activations, sums, products and softmax."""
    a, b, gate, slope = m.f32(*x.shape), m.f32(*x.shape), m.f32(1, 1, x.channels), m.f32(x.channels)
    flat, one = Image(*x.shape), Image(1, 1, x.channels)
    cases = []
    for name in ("relu", "relu6", "hardswish", "hardsigmoid", "sigmoid"):
        spec = fp32_activation.Fp32Activation(x, y, name)
        cases.append(m.case(fp32_activation, spec, [a], [], fp32_activation.reference(spec, a), 5, [x]))
    prelu = fp32_activation.Fp32Activation(x, y, "prelu")
    cases.append(m.case(fp32_activation, prelu, [a], [slope], fp32_activation.reference(prelu, a, slope), 5, [x]))
    for other, image, name in ((gate, one, "mul"), (b, flat, "add"), (b, flat, "mul")):
        spec2 = fp32_binary.Fp32Binary(x, image, y, name, "relu" if name == "add" else "none")
        cases.append(m.case(fp32_binary, spec2, [a, other], [], fp32_binary.reference(spec2, a, other), 5, [x, image]))
    soft = fp32_softmax.Fp32Softmax(x, y)
    cases.append(m.case(fp32_softmax, soft, [a], [], fp32_softmax.reference(soft, a), 5, [x]))
    return cases
