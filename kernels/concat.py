"""Concatenation along channels of 8-bit or float32 images; an 8-bit input may pass through a table (QLinearConcat)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, Memory, Value, cast, kernel_name
from hwnas.kernels.image import Image
from hwnas.kernels.strided_copy import BITS
from hwnas.kernels.sweep import Body, lanes_for, sweep_channels
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Concat:
    """Parameters of the kernel: every input, then one table (u8 [256]) for each input that `requantised` marks, then y.

    An empty `requantised` marks none. Tables come from `lut256.table("identity", ...)`.
    """

    inputs: tuple[Image, ...]
    y: Image
    dtype: str = "uint8"
    requantised: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if any(image.shape[:2] != self.y.shape[:2] for image in self.inputs):
            raise HwnasError("concat: all images must have one height and width")
        if sum(image.channels for image in self.inputs) != self.y.channels:
            raise HwnasError(f"concat: the inputs' channels must add up to {self.y.channels}")
        if self.requantised and len(self.requantised) != len(self.inputs):
            raise HwnasError("concat: requantised must say yes or no for every input")
        if any(self.requantised) and self.dtype != "uint8":
            raise HwnasError("concat: only u8 images pass through a table")


def reference(spec: Concat, images: Sequence[np.ndarray], tables: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Images [H, W, Ci] and the tables of the marked ones -> [H, W, sum Ci]."""
    left = list(tables)
    marks = spec.requantised or (False,) * len(images)
    return np.concatenate([left.pop(0)[x] if mark else x for x, mark in zip(images, marks, strict=True)], axis=2)


def pack(spec: Concat, target: Target, *tables: np.ndarray) -> tuple[np.ndarray, ...]:
    """The tables of the marked inputs, in order."""
    return tuple(np.ascontiguousarray(table, np.uint8) for table in tables)


def tiles(spec: Concat, target: Target) -> list[None]:
    return [None]


def build(spec: Concat, target: Target, tile: None = None) -> Any:
    """The kernel: f(inputs..., tables..., y)."""
    b = KernelBuilder(kernel_name(spec, tile))
    sources = [b.pointer(f"x{i}", spec.dtype, image.size) for i, image in enumerate(spec.inputs)]
    marks = spec.requantised or (False,) * len(sources)
    tables = [b.pointer(f"table{i}", "uint8", 256) if mark else None for i, mark in enumerate(marks)]
    y = b.pointer("y", spec.dtype, spec.y.size)
    lanes = lanes_for(target, BITS[spec.dtype]) if target.vector_bits > 32 else 1
    start = 0
    for image, source, table in zip(spec.inputs, sources, tables, strict=True):
        # the output seen as an image of as many channels as this input, at its own pixel stride
        window = Image(image.height, image.width, image.channels, spec.y.halo, spec.y.pixel)
        sweep_channels(b, (image, window), lanes, _copier(source, table, y, start))
        start += image.channels
    return b.finish()


def _copier(source: Memory, table: Memory | None, y: Memory, start: int) -> Body:
    """Copies a piece of one input to channel `start` of the output, through its table where it has one."""

    def body(index: list[Value], channel: Value, size: int) -> None:
        if table is None:
            y.store(index[1] + start, source.load(index[0], size))
            return
        for i in range(size):
            y.store(index[1] + start + i, table.load(cast(source.load(index[0] + i), "int32")))

    return body
