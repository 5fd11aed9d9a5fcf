"""Kernels of 1-bit steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hwnas.export.native.ir import Step
from hwnas.export.native.layout import window_of
from hwnas.export.native.lower import Binder, KernelCall, Lowering


def binary_conv(lowering: Lowering, step: Step) -> KernelCall:
    """BinaryConv with what was fused into it: PRelu, shortcut, the next layer's signs."""
    from hwnas.kernels import binary_conv as kernel
    from hwnas.kernels.packed_bits import unpack_weight_bytes

    constants = step.constants
    x = lowering.value(step.inputs[0])
    weights = unpack_weight_bytes(constants["weight"], step.integer("in_channels"))
    parameters = kernel.BinaryParameters(weights, constants["scale"], constants["bias"], constants.get("slope"))
    signs, streams = bool(step.attributes.get("signs")), [lowering.value(n).kind == "f32" for n in step.outputs]
    output = ("float+bits" if any(streams) else "bits") if signs else "float"
    if output == "float+bits":
        parameters = replace(parameters, threshold=constants["threshold"])
    spec = kernel.BinaryConv(
        lowering.image(x.name),
        x.channels,
        len(weights),
        window_of(step),
        step.integer("groups"),
        "zero",
        output,
        lowering.image(step.outputs[0]) if any(streams) else None,
        lowering.image(step.outputs[-1]) if signs else None,
        lowering.image(step.inputs[1]) if len(step.inputs) > 1 else None,
        "prelu" if "slope" in constants else "none",
        bool(step.attributes.get("residual_first")),
    )
    if output == "bits":
        flipped, threshold = integer_threshold(weights, constants, spec.dot_length)
        parameters = kernel.BinaryParameters(flipped, threshold=threshold)
    return lowering.call(step, kernel, spec, kernel.pack(spec, lowering.target, parameters))


def integer_threshold(
    weights: np.ndarray, constants: Mapping[str, np.ndarray], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """(weights, int32 threshold [O]) such that dot >= threshold is the float expression's sign, bit for bit.

    float32(dot) * scale + bias >= threshold is monotone in the dot product: rising where scale > 0, falling where
    scale < 0 (there the row's weights are negated, which negates the dot product). The expression itself is
    evaluated for every possible dot product, so its rounding is part of the answer.
    """
    scale, bias, limit = (constants[key].astype(np.float32) for key in ("scale", "bias", "threshold"))
    falling = scale < 0
    flipped = np.where(falling.reshape(-1, 1, 1, 1), -weights, weights).astype(np.int8)
    dots = np.arange(-length, length + 1, dtype=np.int64)
    thresholds = np.empty(len(scale), np.int32)
    for channel in range(len(scale)):
        signed = (-dots if falling[channel] else dots).astype(np.float32)
        above = signed * scale[channel] + bias[channel] >= limit[channel]
        thresholds[channel] = dots[np.argmax(above)] if above.any() else length + 1
    return flipped, thresholds


def sign_pack(lowering: Lowering, step: Step) -> KernelCall:
    """Float stream to packed signs, v >= threshold of its channel."""
    from hwnas.kernels import sign_pack as kernel

    spec = kernel.SignPack(lowering.image(step.inputs[0]), lowering.image(step.outputs[0]))
    packed = kernel.pack(spec, lowering.target, step.constants["threshold"])
    return lowering.call(step, kernel, spec, packed)


BINDERS: dict[str, Binder] = {"binary_conv": binary_conv, "sign_pack": sign_pack}
