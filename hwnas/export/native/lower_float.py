"""Kernels of float32 steps."""

from __future__ import annotations

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.ir import Step
from hwnas.export.native.layout import window_of
from hwnas.export.native.lower import Binder, KernelCall, Lowering


def conv(lowering: Lowering, step: Step) -> KernelCall:
    """Convolution with activation and residual; depthwise ones with their own kernel."""
    x, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    groups, activation = step.integer("groups"), step.text("activation") or "none"
    weight, bias = step.constants["weight"], step.constants["bias"]
    if groups > 1 and groups == x.channels == y.channels:
        from hwnas.kernels import fp32_depthwise

        depthwise = fp32_depthwise.Fp32Depthwise(x, y, window_of(step), activation)
        packed = fp32_depthwise.pack(depthwise, lowering.target, weight, bias)
        return lowering.call(step, fp32_depthwise, depthwise, packed)
    from hwnas.kernels import fp32_conv

    residual = lowering.image(step.inputs[1]) if len(step.inputs) > 1 else None
    spec = fp32_conv.Fp32Conv(x, y, window_of(step), groups, activation, residual)
    packed = fp32_conv.pack(spec, lowering.target, weight, bias)
    return lowering.call(step, fp32_conv, spec, packed, late=len(step.inputs) - 1)


def activation(lowering: Lowering, step: Step) -> KernelCall:
    """An activation that no convolution before it could take in."""
    from hwnas.kernels import fp32_activation

    function = step.text("function")
    if function == "clip" and (step.attributes["low"], step.attributes["high"]) == (0.0, 6.0):
        function = "relu6"
    if function == "hardsigmoid":
        alpha, beta = step.attributes["alpha"], step.attributes["beta"]
        if not (isinstance(alpha, float) and abs(alpha - 1 / 6) < 1e-6 and beta == 0.5):
            raise HwnasError(
                f"node {step.node!r} (HardSigmoid): alpha={alpha} beta={beta}", nearest=("alpha=1/6 beta=0.5",)
            )
    if function in ("clip", "tanh"):
        raise HwnasError(
            f"node {step.node!r}: no float kernel covers {function}",
            nearest=("Clip(0, 6)",) if function == "clip" else ("Sigmoid",),
        )
    spec = fp32_activation.Fp32Activation(lowering.image(step.inputs[0]), lowering.image(step.outputs[0]), function)
    packed = fp32_activation.pack(spec, lowering.target, step.constants.get("slope"))
    return lowering.call(step, fp32_activation, spec, packed)


def binary(lowering: Lowering, step: Step) -> KernelCall:
    """Add and Mul of two values, or of a value and a constant a channel."""
    from hwnas.kernels import fp32_binary
    from hwnas.kernels.image import Image

    operation = "add" if step.kind == "add_f32" else "mul"
    a, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    vector = step.constants.get("vector")
    b = lowering.image(step.inputs[1]) if vector is None else Image(1, 1, a.channels)
    spec = fp32_binary.Fp32Binary(a, b, y, operation, step.text("activation") or "none")
    constants = () if vector is None else (vector.astype(np.float32),)
    return lowering.call(step, fp32_binary, spec, constants)


def average_pool(lowering: Lowering, step: Step) -> KernelCall:
    """AveragePool and GlobalAveragePool."""
    from hwnas.kernels import fp32_pool
    from hwnas.kernels.image import Window

    x, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    if step.kind == "global_average_f32":
        spec = fp32_pool.Fp32AveragePool(x, y, Window((x.height, x.width)))
    else:
        spec = fp32_pool.Fp32AveragePool(x, y, window_of(step), bool(step.integer("count_include_pad")))
    return lowering.call(step, fp32_pool, spec, ())


def max_pool(lowering: Lowering, step: Step) -> KernelCall:
    """MaxPool."""
    from hwnas.kernels import max_pool as kernel

    spec = kernel.MaxPool(lowering.image(step.inputs[0]), lowering.image(step.outputs[0]), window_of(step), "float32")
    return lowering.call(step, kernel, spec, ())


def concat(lowering: Lowering, step: Step) -> KernelCall:
    """Concat along channels."""
    from hwnas.kernels import concat as kernel

    images = tuple(lowering.image(name) for name in step.inputs)
    return lowering.call(step, kernel, kernel.Concat(images, lowering.image(step.outputs[0]), "float32"), ())


def softmax(lowering: Lowering, step: Step) -> KernelCall:
    """Softmax over channels."""
    from hwnas.kernels import fp32_softmax

    spec = fp32_softmax.Fp32Softmax(lowering.image(step.inputs[0]), lowering.image(step.outputs[0]))
    return lowering.call(step, fp32_softmax, spec, ())


def transpose(lowering: Lowering, step: Step) -> KernelCall:
    """Between the model's own NCHW layout and NHWC."""
    from hwnas.kernels import transpose as kernel

    x, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    return lowering.call(step, kernel, kernel.Transpose(x, y, step.kind == "to_nchw"), ())


BINDERS: dict[str, Binder] = {
    "conv_f32": conv,
    "activation_f32": activation,
    "add_f32": binary,
    "mul_f32": binary,
    "global_average_f32": average_pool,
    "average_pool_f32": average_pool,
    "max_pool_f32": max_pool,
    "concat_f32": concat,
    "softmax_f32": softmax,
    "to_nhwc": transpose,
    "to_nchw": transpose,
}
