"""Float32 average pooling; the global one is a window of the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.kernels.builder import KernelBuilder, kernel_name
from hwnas.kernels.image import Image, Window, check_window
from hwnas.kernels.pool_loops import emit_mean, reference_mean
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
    return reference_mean(spec, x)


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

    emit_mean(b, spec, lanes_for(target, 32), x.load, lambda index, mean, lanes: y.store(index, mean))
    return b.finish()
