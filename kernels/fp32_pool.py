"""Float32 average pooling; the global one is a window of the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.kernels.builder import KernelBuilder, Value, const, kernel_name
from hwnas.kernels.image import Image, Window, check_window
from hwnas.kernels.pool_loops import emit_pool, reference_taps
from hwnas.kernels.sweep import lanes_for
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Fp32AveragePool:
    """Parameters of the kernel: x, y. Taps outside the image are skipped."""

    x: Image
    y: Image
    window: Window
    include_pad: bool = False

    def __post_init__(self) -> None:
        check_window("fp32 average pool", self.x, self.y, self.window, needs_halo=False)


def global_pool(x: Image) -> Fp32AveragePool:
    """The mean over all pixels of `x`, as a 1x1 image."""
    return Fp32AveragePool(x, Image(1, 1, x.channels), Window((x.height, x.width)))


def reference(spec: Fp32AveragePool, x: np.ndarray) -> np.ndarray:
    """x [H, W, C] -> y [OH, OW, C], summed in float32 tap by tap."""
    y = np.empty(spec.y.shape, np.float32)
    for row, column, taps in reference_taps(spec.x, spec.y, spec.window):
        total = np.zeros(spec.x.channels, np.float32)
        for i, j in taps:
            total = total + x[i, j]
        y[row, column] = total / np.float32(spec.window.taps if spec.include_pad else len(taps))
    return y


def pack(spec: Fp32AveragePool, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: Fp32AveragePool, target: Target) -> list[None]:
    return [None]


def build(spec: Fp32AveragePool, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", "float32", spec.x.size)
    y = b.pointer("y", "float32", spec.y.size)

    def finish(index: Value, total: Value, taps: int, lanes: int) -> None:
        divisor = float(spec.window.taps if spec.include_pad else taps)
        y.store(index, total / const(divisor, "float32", lanes))

    emit_pool(
        b,
        spec.x,
        spec.y,
        spec.window,
        lanes_for(target, 32),
        lambda acc, value: acc + value,
        x.load,
        finish,
        lambda lanes: const(0.0, "float32", lanes),
    )
    return b.finish()
