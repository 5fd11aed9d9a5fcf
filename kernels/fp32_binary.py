"""Float32 sum or product of two images, or of an image and one value a channel, with an activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError, unknown
from hwnas.kernels.activation import activated, activated_reference, check_activation
from hwnas.kernels.builder import KernelBuilder, Value, kernel_name
from hwnas.kernels.image import Image
from hwnas.kernels.sweep import lanes_for, sweep_channels, sweep_elements
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Fp32Binary:
    """y = activation(a operation b). Parameters of the kernel: a, b, y; `b` is as large as `a` or 1x1."""

    a: Image
    b: Image
    y: Image
    operation: str = "add"
    activation: str = "none"

    def __post_init__(self) -> None:
        check_activation(self.activation)
        if self.operation not in ("add", "mul"):
            raise unknown("fp32 operation", self.operation, ("add", "mul"))
        if self.a.shape != self.y.shape or self.b.shape not in (self.a.shape, (1, 1, self.a.channels)):
            raise HwnasError(
                f"fp32 {self.operation}: b must be {self.a.shape} or (1, 1, {self.a.channels}), got {self.b.shape}"
            )


def reference(spec: Fp32Binary, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a [H, W, C], b [H, W, C] or [1, 1, C] -> y; one float32 operation each, then the activation."""
    return activated_reference(a + b if spec.operation == "add" else a * b, spec.activation).astype(np.float32)


def pack(spec: Fp32Binary, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: Fp32Binary, target: Target) -> list[None]:
    return [None]


def build(spec: Fp32Binary, target: Target, tile: None = None) -> Any:
    """The kernel: f(a, b, y)."""
    builder = KernelBuilder(kernel_name(spec, tile))
    a = builder.pointer("a", "float32", spec.a.size)
    b = builder.pointer("b", "float32", spec.b.size)
    y = builder.pointer("y", "float32", spec.y.size)
    spread = spec.b.shape != spec.a.shape

    def body(index: list[Value], channel: Value, lanes: int) -> None:
        left = a.load(index[0], lanes)
        right = b.load(channel + spec.b.start if spread else index[2], lanes)
        value = left + right if spec.operation == "add" else left * right
        y.store(index[1], activated(builder, target, value, spec.activation))

    if spread:
        sweep_channels(builder, (spec.a, spec.y), lanes_for(target, 32), body)
    else:
        sweep_elements(builder, (spec.a, spec.y, spec.b), lanes_for(target, 32), body)
    return builder.finish()
