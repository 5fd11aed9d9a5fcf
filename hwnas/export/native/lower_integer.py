"""Kernels of integer steps."""

from __future__ import annotations

import numpy as np

from hwnas.export.native.ir import Step, Value
from hwnas.export.native.layout import window_of
from hwnas.export.native.lower import Binder, KernelCall, Lowering


def _signed(value: Value) -> bool:
    return value.kind == "i8"


def _scales(lowering: Lowering, step: Step) -> tuple[tuple[float, float, float], tuple[int, int, int]]:
    a, b, y = (lowering.value(name) for name in (*step.inputs, *step.outputs))
    return (a.scale, b.scale, y.scale), (a.zero_point, b.zero_point, y.zero_point)


def conv(lowering: Lowering, step: Step) -> KernelCall:
    """Convolutions, depthwise ones with their own kernel."""
    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    groups = step.integer("groups")
    if groups > 1 and groups == x.channels == y.channels:
        return _depthwise(lowering, step)
    from hwnas.kernels import int8_conv

    spec = int8_conv.Int8Conv(
        lowering.image(x.name), lowering.image(y.name), window_of(step), groups, y.zero_point, _signed(x), _signed(y)
    )
    constants = step.constants
    packed = int8_conv.pack(
        spec, lowering.target, constants["weight"], constants["bias"], constants["scale"], x.zero_point
    )
    return lowering.call(step, int8_conv, spec, packed)


def _depthwise(lowering: Lowering, step: Step) -> KernelCall:
    from hwnas.kernels import int8_depthwise

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    spec = int8_depthwise.Int8Depthwise(
        lowering.image(x.name), lowering.image(y.name), window_of(step), y.zero_point, _signed(x), _signed(y)
    )
    constants = step.constants
    packed = int8_depthwise.pack(
        spec, lowering.target, constants["weight"], constants["bias"], constants["scale"], x.zero_point
    )
    return lowering.call(step, int8_depthwise, spec, packed)


def add(lowering: Lowering, step: Step) -> KernelCall:
    """QLinearAdd."""
    from hwnas.kernels import int8_add

    a, b, y = (lowering.image(name) for name in (*step.inputs, *step.outputs))
    spec = int8_add.Int8Add(a, b, y, _signed(lowering.value(step.outputs[0])))
    return lowering.call(step, int8_add, spec, int8_add.pack(spec, lowering.target, *_scales(lowering, step)))


def mul(lowering: Lowering, step: Step) -> KernelCall:
    """QLinearMul, with a vector a channel in squeeze-excite."""
    from hwnas.kernels import int8_mul

    scales, zeros = _scales(lowering, step)
    a, b, y = (lowering.image(name) for name in (*step.inputs, *step.outputs))
    spec = int8_mul.Int8Mul(a, b, y, *zeros, _signed(lowering.value(step.outputs[0])))
    return lowering.call(step, int8_mul, spec, int8_mul.pack(spec, lowering.target, scales))


def global_average(lowering: Lowering, step: Step) -> KernelCall:
    """QLinearGlobalAveragePool."""
    from hwnas.kernels import int8_global_pool

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    spec = int8_global_pool.Int8GlobalPool(
        lowering.image(x.name), lowering.image(y.name), x.zero_point, y.zero_point, _signed(y)
    )
    packed = int8_global_pool.pack(spec, lowering.target, x.scale, y.scale)
    return lowering.call(step, int8_global_pool, spec, packed)


def quantize(lowering: Lowering, step: Step) -> KernelCall:
    """QuantizeLinear, from the model's own NCHW input or from an NHWC value."""
    from hwnas.kernels import quantize as kernel

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    planar = x.layout == "nchw" and x.pixels > 1
    spec = kernel.Quantize(lowering.image(x.name), lowering.image(y.name), y.zero_point, _signed(y), planar)
    return lowering.call(step, kernel, spec, kernel.pack(spec, lowering.target, float(np.float32(y.scale))))


def average_pool(lowering: Lowering, step: Step) -> KernelCall:
    """QLinearAveragePool."""
    from hwnas.kernels import int8_average_pool

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    spec = int8_average_pool.Int8AveragePool(
        lowering.image(x.name),
        lowering.image(y.name),
        window_of(step),
        bool(step.integer("count_include_pad")),
        x.zero_point,
        y.zero_point,
        _signed(y),
    )
    return lowering.call(step, int8_average_pool, spec, int8_average_pool.pack(spec, lowering.target, x.scale, y.scale))


def max_pool(lowering: Lowering, step: Step) -> KernelCall:
    """MaxPool on the integers themselves."""
    from hwnas.kernels import max_pool as kernel

    x, y = step.inputs[0], step.outputs[0]
    dtype = "int8" if _signed(lowering.value(x)) else "uint8"
    spec = kernel.MaxPool(lowering.image(x), lowering.image(y), window_of(step), dtype)
    return lowering.call(step, kernel, spec, ())


def lut(lowering: Lowering, step: Step) -> KernelCall:
    """Any function of one byte."""
    from hwnas.kernels import lut256

    spec = lut256.Lut256(lowering.image(step.inputs[0]), lowering.image(step.outputs[0]))
    table = lut256.pack(spec, lowering.target, step.constants["table"])
    return lowering.call(step, lut256, spec, table, reads_bytes=True)


def concat(lowering: Lowering, step: Step) -> KernelCall:
    """QLinearConcat (inputs of another scale went through a table before)."""
    from hwnas.kernels import concat as kernel

    dtype = "int8" if _signed(lowering.value(step.outputs[0])) else "uint8"
    images = tuple(lowering.image(name) for name in step.inputs)
    spec = kernel.Concat(images, lowering.image(step.outputs[0]), dtype)
    return lowering.call(step, kernel, spec, ())


def dequantize(lowering: Lowering, step: Step) -> KernelCall:
    """DequantizeLinear, to the model's own NCHW output or to an NHWC value."""
    from hwnas.kernels import dequantize as kernel

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    spec = kernel.Dequantize(
        lowering.image(x.name), lowering.image(y.name), x.zero_point, _signed(x), y.layout == "nchw" and y.pixels > 1
    )
    return lowering.call(step, kernel, spec, kernel.pack(spec, lowering.target, float(np.float32(x.scale))))


def softmax(lowering: Lowering, step: Step) -> KernelCall:
    """QLinearSoftmax."""
    from hwnas.kernels import int8_softmax

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    spec = int8_softmax.Int8Softmax(lowering.image(x.name), lowering.image(y.name), y.zero_point)
    return lowering.call(step, int8_softmax, spec, int8_softmax.pack(spec, lowering.target, x.scale, y.scale))


BINDERS: dict[str, Binder] = {
    "conv_int": conv,
    "add_int": add,
    "mul_int": mul,
    "global_average_int": global_average,
    "quantize": quantize,
    "average_pool_int": average_pool,
    "max_pool_int": max_pool,
    "lut": lut,
    "concat_int": concat,
    "dequantize": dequantize,
    "softmax_int": softmax,
}
