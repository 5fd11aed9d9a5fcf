"""What operators share that only move a tensor's elements: of every form, in ONNX's order; codes stay codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.export.native.ir import Value, plain
from hwnas.export.native.reader import Reader, Tensor

if TYPE_CHECKING:
    from onnx import NodeProto


def dense(reader: Reader, node: NodeProto, index: int) -> tuple[Value, str]:
    """(input `index` in ONNX's order, as floats, codes or whole numbers; the form in which its elements are seen)."""
    form = reader.tensor(node, index).form
    if form in ("dequantised", "integer"):
        return reader.plain_codes(node, index), form
    return (reader.plain if form == "real" else reader.whole_numbers)(node, index), form


def like(source: Value, name: str, shape: tuple[int, ...]) -> Value:
    """A value of the source's elements, in ONNX's order."""
    return plain(name, source.kind, shape, source.scale, source.zero_point)


def moved(reader: Reader, node: NodeProto, value: Value, form: str, shape: tuple[int, ...] | None = None) -> None:
    """The tensor named as `value` is what was moved there; codes of an image get their channels together."""
    name, shape = value.name, shape or value.shape
    if form in ("dequantised", "integer") and value.is_image:
        value = reader.image_codes(node, value)
    reader.define(node, name, Tensor(value.name, form, shape))
