"""Float32 NCHW to NHWC and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Memory, Value, kernel_name, lanes_of, shuffle
from hwnas.kernels.image import Image, check_same_shape
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Transpose:
    """Parameters of the kernel: x, y. NHWC -> NCHW where `to_planar`, else NCHW -> NHWC; the NCHW side has no halo."""

    x: Image
    y: Image
    to_planar: bool = False

    def __post_init__(self) -> None:
        check_same_shape("transpose", self.x, self.y)
        check_planar("transpose", self.y if self.to_planar else self.x)


def check_planar(what: str, image: Image) -> None:
    """An NCHW image has no halo and no extra channels."""
    if image.size != image.height * image.width * image.channels:
        raise HwnasError(f"{what}: an NCHW image has no halo and no extra channels, got {image}")


def store_spread(b: KernelBuilder, memory: Memory, index: Value, stride: int, value: Value) -> None:
    """Stores the lanes of `value` `stride` elements apart."""
    lanes = lanes_of(value)
    if lanes == 1 or stride == 1:
        memory.store(index, value)
        return
    whole = b.let(value)
    for lane in range(lanes):
        memory.store(index + lane * stride, shuffle([whole], [lane]))


def reference(spec: Transpose, x: np.ndarray) -> np.ndarray:
    """x and y as [H, W, C], whatever their memory order."""
    return x.copy()


def pack(spec: Transpose, target: Target) -> tuple[()]:
    """No constants."""
    return ()


def tiles(spec: Transpose, target: Target) -> list[None]:
    return [None]


def build(spec: Transpose, target: Target, tile: None = None) -> Any:
    """The kernel: f(x, y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    x = b.pointer("x", "float32", spec.x.size)
    y = b.pointer("y", "float32", spec.y.size)
    planar, image = (spec.y, spec.x) if spec.to_planar else (spec.x, spec.y)
    plane = planar.height * planar.width
    lanes = min(lanes_for(target, 32), 16)
    # vectors run along the width: the planar side is contiguous there
    with b.loop(image.height) as row, b.loop(image.channels) as channel:
        for first, count, size in pieces(image.width, lanes):
            with b.loop(count) as i:
                column = b.let(i * size + first)
                flat = b.let(channel * plane + row * image.width + column)
                pixel = b.let(image.start + row * image.row + column * image.pixel + channel)
                if spec.to_planar:
                    y.store(flat, x.load_strided(pixel, image.pixel, size) if size > 1 else x.load(pixel))
                else:
                    store_spread(b, y, pixel, image.pixel, x.load(flat, size))
    return b.finish()
