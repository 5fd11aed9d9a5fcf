"""Float32 sum, mean, largest or smallest over any axes of a dense tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from tvm import tirx

from hwnas.errors import HwnasError, unknown
from hwnas.kernels.builder import KernelBuilder, Value, const
from hwnas.kernels.image import symbol
from hwnas.kernels.strides import check_sizes, merged, nest, offset, row_major
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target

# name -> (over numpy axes, of two TIR values)
OPERATIONS: dict[str, tuple[Callable[..., np.ndarray], Callable[[Value, Value], Value]]] = {
    "sum": (np.sum, lambda a, b: a + b),
    "mean": (np.mean, lambda a, b: a + b),
    "max": (np.max, lambda a, b: tirx.max(a, b)),
    "min": (np.min, lambda a, b: tirx.min(a, b)),
}


@dataclass(frozen=True)
class Fp32Reduce:
    """Parameters of the kernel: x [shape], y (the other axes, dense)."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    operation: str = "mean"

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise unknown("reduction", self.operation, OPERATIONS)
        if sorted(set(self.axes)) != sorted(self.axes) or not all(0 <= axis < len(self.shape) for axis in self.axes):
            raise HwnasError(f"reduction: axes of {list(self.shape)} must be named once each, got {list(self.axes)}")
        check_sizes(f"fp32 {self.operation}", prod(self.shape))

    @property
    def kept(self) -> tuple[int, ...]:
        """The axes that stay."""
        return tuple(axis for axis in range(len(self.shape)) if axis not in self.axes)

    def symbol(self, tile: None = None) -> str:
        return symbol(f"fp32_reduce_{self.operation}", "x".join(map(str, self.shape)), self)


def reference(spec: Fp32Reduce, x: np.ndarray) -> np.ndarray:
    """x [shape] -> y without the axes, in float64; a kernel's sum of N numbers is off by N * 2^-24 of their
    magnitudes' sum, largest and smallest are exact."""
    wide = x.reshape(spec.shape).astype(np.float64)
    result: np.ndarray = OPERATIONS[spec.operation][0](wide, axis=spec.axes)
    return result.astype(np.float32)


def pack(spec: Fp32Reduce, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: Fp32Reduce, target: Target) -> list[None]:
    return [None]


def _axes(shape: Sequence[int], chosen: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(sizes, strides in x) of the chosen axes, neighbours joined."""
    strides = row_major(shape)
    sizes, (steps,) = merged([shape[axis] for axis in chosen], [strides[axis] for axis in chosen])
    return sizes, steps


def build(spec: Fp32Reduce, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, y)."""
    b = KernelBuilder(spec.symbol())
    x = b.pointer("x", "float32", prod(spec.shape))
    kept, kept_steps = _axes(spec.shape, spec.kept)
    gone, gone_steps = _axes(spec.shape, spec.axes)
    count = prod(gone)
    y = b.pointer("y", "float32", prod(kept))
    results, operate = row_major(kept), OPERATIONS[spec.operation][1]
    # vectors run along the innermost axis that stays, where its elements are neighbours
    lanes = lanes_for(target, 32) if kept_steps[-1] == 1 else 1
    plain = spec.operation in ("sum", "mean")
    with nest(b, kept[:-1]) as indices:
        start, result = offset(b, indices, kept_steps[:-1]), offset(b, indices, results[:-1])
        for first, runs, size in pieces(kept[-1], lanes):
            with b.loop(runs) as run:
                column = b.let(run * size + first)
                here = b.let(start + column * kept_steps[-1])
                total = b.register(const(0.0, "float32", size) if plain else x.load(here, size))
                with nest(b, gone) as inner:
                    total.set(operate(total.value, x.load(offset(b, inner, gone_steps) + here, size)))
                share = const(1.0 / count if spec.operation == "mean" else 1.0, "float32", size)
                y.store(result + column, total.value * share if spec.operation == "mean" else total.value)
    return b.finish()
