"""Rows of a table by number (Gather, an embedding): y[o, n] = table[o, id[n]], in elements of any width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

from hwnas.errors import HwnasError, unknown
from hwnas.kernels.builder import KernelBuilder, cast, const
from hwnas.kernels.image import symbol
from hwnas.kernels.strides import check_sizes
from hwnas.kernels.sweep import lanes_for, pieces
from hwnas.kernels.target import Target

ID_TYPES = ("int32", "int64", "uint8", "int8")
ROW_TYPES = {"float32": 32, "uint8": 8, "int8": 8, "int32": 32}


@dataclass(frozen=True)
class GatherRows:
    """Parameters of the kernel: ids [count], table [outer, rows, width], y [outer, count, width].

    An id below 0 counts from the end, as ONNX has it. One outside the table is clamped to its nearest end (ONNX
    leaves it undefined): nothing outside the table is ever read.
    """

    outer: int
    rows: int
    width: int
    count: int
    dtype: str = "float32"
    ids: str = "int64"

    def __post_init__(self) -> None:
        if self.ids not in ID_TYPES:
            raise unknown("type of an id", self.ids, ID_TYPES)
        if self.dtype not in ROW_TYPES:
            raise unknown("type of a row", self.dtype, ROW_TYPES)
        check_sizes("gather", self.outer * self.rows * self.width, self.outer * self.count * self.width)
        if min(self.outer, self.rows, self.width, self.count) < 1:
            raise HwnasError(f"gather: every size must be at least 1, got {self}")

    def symbol(self, tile: None = None) -> str:
        return symbol("gather_rows", f"{self.rows}x{self.width}_{self.count}", self)


def reference(spec: GatherRows, ids: np.ndarray, table: np.ndarray) -> np.ndarray:
    """ids [count], table [outer, rows, width] -> y [outer, count, width]."""
    wide = ids.reshape(-1).astype(np.int64)
    rows = np.clip(np.where(wide < 0, wide + spec.rows, wide), 0, spec.rows - 1)
    return table.reshape(spec.outer, spec.rows, spec.width)[:, rows]


def pack(spec: GatherRows, target: Target) -> tuple[()]:
    """No constants of its own: a constant table is given as it is."""
    return ()


def tiles(spec: GatherRows, target: Target) -> list[None]:
    return [None]


def build(spec: GatherRows, target: Target, tile: None = None) -> Any:
    """The kernel: f(ids, table, y)."""
    b = KernelBuilder(spec.symbol())
    ids = b.pointer("ids", spec.ids, spec.count)
    table = b.pointer("table", spec.dtype, spec.outer * spec.rows * spec.width)
    y = b.pointer("y", spec.dtype, spec.outer * spec.count * spec.width)
    wide = "int64" if spec.ids == "int64" else "int32"

    def number(value: int) -> Any:
        return const(value, wide)

    with b.loop(spec.outer) as block, b.loop(spec.count) as n:
        given = b.let(cast(ids.load(n), wide))
        # clamped on both sides before anything is added: no sum leaves its type
        near = b.let(tirx.max(tirx.min(given, number(spec.rows - 1)), number(-spec.rows)))
        row = b.let(cast(tirx.Select(near < number(0), near + number(spec.rows), near), "int32"))
        source = b.let((block * spec.rows + row) * spec.width)
        result = b.let((block * spec.count + n) * spec.width)
        for first, count, lanes in pieces(spec.width, lanes_for(target, ROW_TYPES[spec.dtype])):
            with b.loop(count) as i:
                at = b.let(i * lanes + first)
                y.store(result + at, table.load(source + at, lanes))
    return b.finish()
