"""Float32 arithmetic of two dense tensors of any rank, broadcast by numpy's rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

from hwnas.errors import unknown
from hwnas.kernels.builder import KernelBuilder, Memory, Value, broadcast
from hwnas.kernels.image import symbol
from hwnas.kernels.strides import broadcast_strides, check_sizes, merged, nest, offset
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target

# name -> (on numpy arrays, on TIR values)
OPERATIONS: dict[str, tuple[Callable[..., np.ndarray], Callable[[Value, Value], Value]]] = {
    "add": (np.add, lambda a, b: a + b),
    "sub": (np.subtract, lambda a, b: a - b),
    "mul": (np.multiply, lambda a, b: a * b),
    "div": (np.divide, lambda a, b: a / b),
    "min": (np.minimum, lambda a, b: tirx.min(a, b)),
    "max": (np.maximum, lambda a, b: tirx.max(a, b)),
}


@dataclass(frozen=True)
class Fp32Elementwise:
    """y = a operation b. Parameters of the kernel: a, b, y, dense; the shapes broadcast to y's."""

    a: tuple[int, ...]
    b: tuple[int, ...]
    operation: str = "add"

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise unknown("fp32 operation", self.operation, OPERATIONS)
        for shape in (self.a, self.b):
            broadcast_strides(shape, self.y)
        check_sizes(f"fp32 {self.operation}", *(int(np.prod(shape)) for shape in (self.a, self.b, self.y)))

    @property
    def y(self) -> tuple[int, ...]:
        """The result's shape."""
        rank = max(len(self.a), len(self.b))
        longer, other = ((1,) * (rank - len(shape)) + shape for shape in (self.a, self.b))
        return tuple(map(max, longer, other))

    def symbol(self, tile: None = None) -> str:
        return symbol(f"fp32_{self.operation}", "x".join(map(str, self.y)), self)


def reference(spec: Fp32Elementwise, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One correctly rounded float32 operation each: a kernel gives the same bits (of a division by 0 too)."""
    with np.errstate(all="ignore"):
        result: np.ndarray = OPERATIONS[spec.operation][0](a.reshape(spec.a), b.reshape(spec.b))
    return result


def pack(spec: Fp32Elementwise, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: Fp32Elementwise, target: Target) -> list[None]:
    return [None]


def build(spec: Fp32Elementwise, target: Target, tile: None = None) -> Any:
    """The kernel: f(a, b, y)."""
    builder = KernelBuilder(spec.symbol())
    sizes = [int(np.prod(shape)) for shape in (spec.a, spec.b, spec.y)]
    a, b, y = (builder.pointer(name, "float32", size) for name, size in zip("aby", sizes, strict=True))
    steps = [broadcast_strides(shape, spec.y) for shape in (spec.a, spec.b, spec.y)]
    shape, (left, right, result) = merged(spec.y, *steps)
    operate = OPERATIONS[spec.operation][1]
    with nest(builder, shape[:-1]) as indices:
        starts = [offset(builder, indices, strides[:-1]) for strides in (left, right, result)]
        for first, count, lanes in pieces(shape[-1], lanes_for(target, 32)):
            with builder.loop(count) as i:
                at = builder.let(i * lanes + first)
                value = operate(_read(a, starts[0], at, left[-1], lanes), _read(b, starts[1], at, right[-1], lanes))
                y.store(starts[2] + at, value)
    return builder.finish()


def _read(memory: Memory, start: Value, at: Value, stride: int, lanes: int) -> Value:
    """`lanes` elements of the innermost axis, or the one that it repeats."""
    return memory.load(start + at, lanes) if stride else broadcast(memory.load(start), lanes)
