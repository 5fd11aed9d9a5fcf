"""One float32 function of every element of a tensor: GELU, erf, tanh, exp, log, square root, powers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, erfc, pi, sqrt
from typing import Any

import numpy as np
from tvm import tirx

from hwnas.errors import HwnasError, unknown
from hwnas.kernels import elementary
from hwnas.kernels.activation import activated
from hwnas.kernels.builder import KernelBuilder, Value, const, lanes_of
from hwnas.kernels.image import Image, check_same_shape, symbol
from hwnas.kernels.sweep import lanes_for, sweep_elements
from hwnas.kernels.target import Target

_ERF, _ERFC = (np.vectorize(function, otypes=[np.float64]) for function in (erf, erfc))
_BEND = 0.044715  # of the tanh form: Hendrycks and Gimpel's constant, as ONNX's Gelu(approximate="tanh") has it

# name -> the function on float64 arrays (the second argument is `exponent`)
REFERENCES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "abs": lambda x, _: np.abs(x),
    "negate": lambda x, _: -x,
    "reciprocal": lambda x, _: 1 / x,
    "sqrt": lambda x, _: np.sqrt(x),
    "exp": lambda x, _: np.exp(x),
    "log": lambda x, _: np.log(x),
    "erf": lambda x, _: _ERF(x),
    "tanh": lambda x, _: np.tanh(x),
    "sigmoid": lambda x, _: 1 / (1 + np.exp(-x)),
    "silu": lambda x, _: x / (1 + np.exp(-x)),
    # 1 + erf(u) and 1 + tanh(u) would lose the left tail even in float64
    "gelu": lambda x, _: 0.5 * x * _ERFC(-x / sqrt(2)),
    "gelu_tanh": lambda x, _: x / (1 + np.exp(-2 * sqrt(2 / pi) * (x + _BEND * x**3))),
    "power": lambda x, exponent: np.power(x, exponent),
}


@dataclass(frozen=True)
class Fp32Unary:
    """Parameters of the kernel: x, y; `exponent` is of `power` alone. A tensor of any rank is an image of its rows."""

    x: Image
    y: Image
    function: str
    exponent: float = 1.0

    def __post_init__(self) -> None:
        if self.function not in REFERENCES:
            raise unknown("fp32 function", self.function, REFERENCES)
        if not np.isfinite(self.exponent):
            raise HwnasError(f"fp32 power: the exponent must be finite, got {self.exponent}")
        check_same_shape(self.function, self.x, self.y)

    def symbol(self, tile: None = None) -> str:
        return symbol(f"fp32_{self.function}", "x".join(map(str, self.y.shape)), self)


def reference(spec: Fp32Unary, x: np.ndarray) -> np.ndarray:
    """x f32 of any shape -> y, in float64. Errors of a kernel are those of `elementary`; both GELUs' are
    within (3 + x^2) * 2e-7 of the result (and 1e-33)."""
    with np.errstate(all="ignore"):
        return REFERENCES[spec.function](x.astype(np.float64), spec.exponent).astype(np.float32)


def pack(spec: Fp32Unary, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: Fp32Unary, target: Target) -> list[None]:
    return [None]


def applied(b: KernelBuilder, target: Target, value: Value, function: str, exponent: float = 1.0) -> Value:
    """The function on a float32 vector."""
    lanes = lanes_of(value)
    zero, one = const(0.0, "float32", lanes), const(1.0, "float32", lanes)
    x = b.let(value)
    if function == "abs":
        return tirx.max(x, zero - x)
    if function == "negate":
        return zero - x
    if function == "reciprocal":
        return one / x
    if function == "sqrt":
        return elementary.square_root(x)
    if function == "power":
        return elementary.power(b, x, exponent)
    if function in ("sigmoid", "silu"):
        gate = activated(b, target, x, "sigmoid")
        return gate if function == "sigmoid" else x * gate
    if function == "gelu":
        return x * elementary.normal_distribution(b, x)
    if function == "gelu_tanh":
        # (1 + tanh u) / 2 is the logistic function of 2u, without the difference of two numbers near 1; a cube beyond
        # |x| = 10, where that is 0 or 1 already, is kept from overflowing
        near = b.let(tirx.min(tirx.max(x, const(-10.0, "float32", lanes)), const(10.0, "float32", lanes)))
        cube = const(2 * _BEND * sqrt(2 / pi), "float32", lanes) * near * near * near
        return x * activated(b, target, const(2 * sqrt(2 / pi), "float32", lanes) * near + cube, "sigmoid")
    simple = {"exp": elementary.exp, "log": elementary.logarithm, "erf": elementary.erf, "tanh": elementary.tanh}
    return simple[function](b, x)


def build(spec: Fp32Unary, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, y)."""
    b = KernelBuilder(spec.symbol())
    x = b.pointer("x", "float32", spec.x.size)
    y = b.pointer("y", "float32", spec.y.size)

    def body(index: list[Value], channel: Value, lanes: int) -> None:
        y.store(index[1], applied(b, target, x.load(index[0], lanes), spec.function, spec.exponent))

    sweep_elements(b, (spec.x, spec.y), lanes_for(target, 32), body)
    return b.finish()
