"""Softsign in native libraries: float32 of any rank in three steps of hwnas's own kernels, or a table of 256 codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hwnas_example.ops.softsign import softsign

from hwnas.export.native.ir import plain
from hwnas.export.native.operator import Example, Form, IntegerFusion, Kind
from hwnas.export.native.quantisation import NOT_QUANTISED, accept, emit_table, target_of

if TYPE_CHECKING:
    from onnx import NodeProto

    from hwnas.export.native.reader import Reader

ONNX = {"Softsign": (Form("any", "of any rank; 8-bit codes by a table", "integer"),)}
KINDS: dict[str, Kind] = {}  # its steps are of kinds that hwnas binds
EXAMPLES = (
    Example("Softsign", ((1, "C", "H", "W"),), {}, True),
    Example("Softsign", ((1, "T", "D"),), {}, True),
)


def read(reader: Reader, node: NodeProto) -> None:
    """x / (1 + |x|), rounded after each of the three as ONNX Runtime does."""
    source, name = reader.plain(node, 0), node.output[0]
    absolute, below, result = (plain(each, "f32", source.shape) for each in (f"{name}:abs", f"{name}:below", name))
    reader.emit("function_f32", node, (source.name,), absolute, {"function": "abs", "exponent": 1.0})
    add = {"operation": "add", "a": source.shape, "b": (1,)}
    reader.emit("elementwise_f32", node, (absolute.name,), below, add, {"b": np.ones(1, np.float32)})
    div = {"operation": "div", "a": source.shape, "b": source.shape}
    reader.emit("elementwise_f32", node, (source.name, below.name), result, div)
    reader.result(node, result)


def as_table(reader: Reader, node: NodeProto) -> str | None:
    """One byte in, one byte out."""
    source = reader.value(node, 0)
    target = target_of(reader, node, source, reader.tensor(node, 0).shape)
    if target is None:
        return NOT_QUANTISED
    emit_table(reader, node, source, target.value, softsign, "softsign", (target.low, target.high))
    accept(reader, node, target)
    return None


FUSIONS = (IntegerFusion(as_table),)
