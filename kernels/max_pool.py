"""Max pooling of 8-bit or float32 images; taps outside the image are skipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Value, const, kernel_name
from hwnas.kernels.image import Image, Window, check_window
from hwnas.kernels.pool_loops import emit_pool, reference_taps
from hwnas.kernels.sweep import lanes_for
from hwnas.kernels.target import Target

_SMALLEST: dict[str, float] = {"uint8": 0, "int8": -128, "float32": -float(np.finfo(np.float32).max)}


@dataclass(frozen=True)
class MaxPool:
    """Parameters of the kernel: x, y."""

    x: Image
    y: Image
    window: Window
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        check_window("max pool", self.x, self.y, self.window, needs_halo=False)
        if self.dtype not in _SMALLEST:
            raise HwnasError(f"max pool: the type must be one of {', '.join(_SMALLEST)}, got {self.dtype!r}")
        if any(not taps for _, _, taps in reference_taps(self.x, self.y, self.window)):
            raise HwnasError(f"max pool: a window lies wholly in the padding, got {self.window}")


def reference(spec: MaxPool, x: np.ndarray) -> np.ndarray:
    """x [H, W, C] -> y [OH, OW, C]."""
    y = np.empty(spec.y.shape, x.dtype)
    for row, column, taps in reference_taps(spec.x, spec.y, spec.window):
        y[row, column] = np.max([x[i, j] for i, j in taps], axis=0)
    return y


def pack(spec: MaxPool, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: MaxPool, target: Target) -> list[None]:
    return [None]


def build(spec: MaxPool, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", spec.dtype, spec.x.size)
    y = b.pointer("y", spec.dtype, spec.y.size)
    # the constant must be a Python int where the type is an integer
    smallest = _SMALLEST[spec.dtype] if spec.dtype == "float32" else int(_SMALLEST[spec.dtype])

    def finish(index: Value, value: Value, taps: int, lanes: int) -> None:
        y.store(index, value)

    lanes = lanes_for(target, 32 if spec.dtype == "float32" else 8)
    if target.vector_bits == 32:
        lanes = 1
    emit_pool(
        b, spec.x, spec.y, spec.window, lanes, tirx.max, x.load, finish, lambda size: const(smallest, spec.dtype, size)
    )
    return b.finish()
