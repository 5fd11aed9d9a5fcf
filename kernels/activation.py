"""Float32 activation functions as expressions and as references, as ONNX defines them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from tvm import tirx

from hwnas.errors import unknown
from hwnas.kernels import functions
from hwnas.kernels.builder import KernelBuilder, Value, const, lanes_of, reinterpret, rounded, vector_type
from hwnas.kernels.target import Target

_REFERENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": functions.identity,
    "relu": functions.relu,
    "relu6": partial(np.clip, a_min=0, a_max=6),
    "hardswish": functions.hard_swish,
    "hardsigmoid": functions.hard_gate,
    "sigmoid": functions.sigmoid,
}
ACTIVATIONS = tuple(_REFERENCES)


def check_activation(name: str) -> None:
    """Refuses an unknown activation."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)


def activated_reference(x: np.ndarray, name: str) -> np.ndarray:
    """The function on float64 or float32 values. Hard-sigmoid is clip(x / 6 + 0.5, 0, 1), hard-swish x times it."""
    return _REFERENCES[name](x)


def activated(b: KernelBuilder, target: Target, value: Value, name: str) -> Value:
    """The function on a float32 vector."""
    if name == "none":
        return value
    lanes = lanes_of(value)
    zero, one = const(0.0, "float32", lanes), const(1.0, "float32", lanes)
    if name == "relu":
        return tirx.max(value, zero)
    if name == "relu6":
        return tirx.min(tirx.max(value, zero), const(6.0, "float32", lanes))
    x = b.let(value)
    if name == "sigmoid":
        return one / (one + exponential(b, const(0.0, "float32", lanes) - x))
    gate = x * const(float(np.float32(1 / 6)), "float32", lanes) + const(0.5, "float32", lanes)
    gate = tirx.min(tirx.max(gate, zero), one)
    return gate if name == "hardsigmoid" else x * gate


def exponential(b: KernelBuilder, value: Value) -> Value:
    """exp(x) of a float32 vector within 3 units in the last place, x clamped to [-87, 88]: no library call.

    exp(x) = 2^n * exp(r), n = round(x / ln 2), r in [-0.347, 0.347] by a degree-7 Taylor polynomial
    (its remainder r^8 / 8! is below 6e-9 relative).
    """
    lanes = lanes_of(value)

    def c(number: float) -> Value:
        return const(float(np.float32(number)), "float32", lanes)

    x = b.let(tirx.min(tirx.max(value, c(-87.0)), c(88.0)))
    # rounds to the nearest integer; without the fence the simplifier would cancel the two constants
    shifted = b.let(rounded(x * c(1.4426950408889634) + c(12582912.0)))
    n = b.let(shifted - c(12582912.0))
    r = b.let((x - n * c(0.693359375)) - n * c(-2.12194440e-4))  # ln 2 in two parts, the first exact in n * part
    total = c(1 / 5040)
    for factorial in (720, 120, 24, 6, 2, 1, 1):
        total = b.let(total * r + c(1 / factorial))
    # the low bits of `shifted` are n itself: no conversion (whose static rounding mode qemu 7 cannot run on RISC-V)
    exponent = reinterpret(shifted, vector_type("int32", lanes)) + const(127 - 0x4B400000, "int32", lanes)
    power = reinterpret(exponent << const(23, "int32", lanes), vector_type("float32", lanes))
    return total * power
