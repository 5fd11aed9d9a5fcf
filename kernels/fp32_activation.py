"""Float32 activation on its own: relu, relu6, hard-swish, hard-sigmoid, sigmoid, per-channel PRelu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

from hwnas.kernels.activation import activated, activated_reference, check_activation
from hwnas.kernels.builder import KernelBuilder, Value, const, kernel_name
from hwnas.kernels.image import Image, check_same_shape
from hwnas.kernels.sweep import lanes_for, sweep_channels, sweep_elements
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Fp32Activation:
    """Parameters of the kernel: x, slope (f32 [C], for prelu only), y."""

    x: Image
    y: Image
    function: str = "relu"

    def __post_init__(self) -> None:
        if self.function != "prelu":
            check_activation(self.function)
        check_same_shape(self.function, self.x, self.y)


def reference(spec: Fp32Activation, x: np.ndarray, slope: np.ndarray | None = None) -> np.ndarray:
    """x [H, W, C] -> y. PRelu is exact; sigmoid differs from float64 by at most 4 units in the last place."""
    if spec.function == "prelu" and slope is not None:
        return np.where(x < 0, x * slope, x).astype(np.float32)
    return activated_reference(x, spec.function).astype(np.float32)


def pack(spec: Fp32Activation, target: Target, slope: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """(slope,) for prelu, else nothing."""
    return () if slope is None else (slope.reshape(-1).astype(np.float32),)


def tiles(spec: Fp32Activation, target: Target) -> list[None]:
    return [None]


def build(spec: Fp32Activation, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, [slope,] y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", "float32", spec.x.size)
    slope = b.pointer("slope", "float32", spec.x.channels) if spec.function == "prelu" else None
    y = b.pointer("y", "float32", spec.y.size)

    def body(index: list[Value], channel: Value, lanes: int) -> None:
        value = b.let(x.load(index[0], lanes))
        if slope is None:
            y.store(index[1], activated(b, target, value, spec.function))
            return
        negative = value < const(0.0, "float32", lanes)
        y.store(index[1], tirx.Select(negative, value * slope.load(channel, lanes), value))

    sweep = sweep_elements if slope is None else sweep_channels
    sweep(b, (spec.x, spec.y), lanes_for(target, 32), body)
    return b.finish()
