"""Concat along any axis, float32, 8-bit and whole numbers; codes of another scale go through a table first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import ELEMENT_TYPES, Step, image, plain
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Constant, Example, Form, IntegerFusion, Kind
from hwnas.export.native.quantisation import NOT_QUANTISED, emit_quantised, emit_table, identity, target_of
from hwnas.export.native.reader import Reader, Tensor, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "Concat": (
        Form("channels", "along the channels of images or vectors, any number of scales", "integer"),
        Form("axis", "along any axis of any shape, of codes, floats or whole numbers; constants beside each other"),
    )
}
KINDS = {"concat_f32": Kind(exact=True), "concat_int": Kind(exact=True), "concat_plain": Kind(exact=True)}
EXAMPLES = (
    Example("Concat", ((1, "C", "H", "W"), (1, "D", "H", "W")), {"axis": 1}, True),
    Example("Concat", ((1, "C"), (1, "D"), (1, "C")), {"axis": 1}, True),
    Example("Concat", ((1, "C", "L"), (1, "D", "L")), {"axis": 1}, True),
    Example("Concat", ((1, "C", "H", "W"), (1, "C", "H", "V")), {"axis": -1}, True),
    Example("Concat", (Constant((1, 1, "D")), (1, "T", "D")), {"axis": 1}),
)


def read(reader: Reader, node: NodeProto) -> None:
    """Tensors of one form side by side; where it must be, codes become floats."""
    if all(name in reader.constants for name in node.input):
        shape, arrays = joined_shape(reader, node), [reader.constants[name] for name in node.input]
        reader.keep(node, np.concatenate(arrays, _axis(node, len(shape))))
        return
    if not along_channels(reader, node):
        _read_plain(reader, node)
        return
    shape = joined_shape(reader, node)
    sources = [reader.real(node, index) for index in range(len(node.input))]
    value = image(node.output[0], "f32", *sources[0].extent[:2], shape[1])
    reader.emit("concat_f32", node, tuple(s.name for s in sources), value)
    reader.define(node, value.name, Tensor(value.name, "real", shape))


def _read_plain(reader: Reader, node: NodeProto) -> None:
    """In ONNX's order. A constant lies where the kernel takes it: between the inputs before it and those after it."""
    shape, rank = joined_shape(reader, node), len(_shape(reader, node, 0))
    names, sizes, places, held = list[str](), list[int](), list[int](), dict[str, np.ndarray]()
    whole = any(_form(reader, node, index) == "whole" for index in range(len(node.input)))
    kind = "f32"
    for index in range(len(node.input)):
        sizes.append(_shape(reader, node, index)[_axis(node, rank)])
        if reader.is_constant(node.input[index]):
            held[str(index)] = reader.constant(node, index, np.int64 if whole else np.float32)
            places.append(index)
            continue
        source = reader.whole_numbers(node, index) if whole else reader.plain(node, index)
        kind = source.kind
        names.append(source.name)
    if places and places[-1] - places[0] + 1 != len(places):
        raise refuse(node, f"constants at {places} with an activation between them", ("constants side by side",))
    value = plain(node.output[0], kind, shape)
    if any(reader.values[name].kind != kind for name in names) or (whole and held and kind != "i64"):
        raise refuse(node, "whole numbers of several types", ("int64",))
    late = len(names) - places[0] if places else 0
    attributes = {"axis": _axis(node, rank), "sizes": tuple(sizes), "late": late}
    reader.emit("concat_plain", node, tuple(names), value, attributes, held)
    reader.result(node, value)


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QLinearConcat."""
    count = len(node.input)
    if not all(not reader.is_constant(n) and reader.is_quantised(node, i) for i, n in enumerate(node.input)):
        return "one of its inputs is not quantised"
    shape, channels = joined_shape(reader, node), along_channels(reader, node)
    rank = len(shape)
    if channels:
        seen = image("", "u8", *reader.value(node, 0).extent[:2], shape[1])
    else:
        seen = plain("", "u8", shape)
    target = target_of(reader, node, seen, shape)
    if target is None:
        return NOT_QUANTISED
    value, names = target.value, list[str]()
    for index in range(count):
        source = reader.whole(node, index) if channels else reader.plain_codes(node, index)
        if source.codes != value.codes:
            moved = source.like(f"{value.name}:part{index}", value.kind, value.scale, value.zero_point)
            emit_table(reader, node, source, moved, identity, "requantise")
            source = moved
        names.append(source.name)
    if channels:
        emit_quantised(reader, "concat_int", node, tuple(names), target)
        return None
    axis = _axis(node, rank)
    sizes = tuple(_shape(reader, node, index)[axis] for index in range(count))
    emit_quantised(reader, "concat_plain", node, tuple(names), target, {"axis": axis, "sizes": sizes, "late": 0})
    return None


FUSIONS = (IntegerFusion(as_integers),)


def _form(reader: Reader, node: NodeProto, index: int) -> str:
    name = node.input[index]
    return "constant" if reader.is_constant(name) else reader.tensor(node, index).form


def _shape(reader: Reader, node: NodeProto, index: int) -> tuple[int, ...]:
    name = node.input[index]
    if name in reader.constants:
        return reader.constants[name].shape
    held = reader.quantised_constants.get(name)
    return reader.tensor(node, index).shape if held is None else held.integers.shape


def _axis(node: NodeProto, rank: int) -> int:
    axis = int(attribute(node, "axis", 1))
    if not -rank <= axis < rank:
        raise refuse(node, f"axis={axis} of {rank} dimensions", ("axis=1",))
    return axis % rank


def joined_shape(reader: Reader, node: NodeProto) -> tuple[int, ...]:
    """The result's shape; every other axis must be of one size."""
    shapes = [_shape(reader, node, index) for index in range(len(node.input))]
    axis = _axis(node, len(shapes[0]))
    rests = {(*shape[:axis], -1, *shape[axis + 1 :]) for shape in shapes}
    if len(rests) != 1:
        raise refuse(node, f"shapes {[list(shape) for shape in shapes]}", (f"shapes that differ along axis {axis}",))
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def along_channels(reader: Reader, node: NodeProto) -> bool:
    """Whether it joins the channels of images or of vectors: their pixels lie together."""
    for index, name in enumerate(node.input):
        if reader.is_constant(name) or reader.is_view(reader.tensor(node, index)):
            return False
        shape, form = reader.tensor(node, index).shape, reader.tensor(node, index).form
        if len(shape) not in (2, 4) or shape[0] != 1 or form not in ("real", "dequantised"):
            return False
    return _axis(node, len(reader.tensor(node, 0).shape)) == 1


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """One kernel for every element type; what is joined along another axis are rows of as many elements."""
    from hwnas.kernels import concat as kernel
    from hwnas.kernels.image import Image

    y = lowering.value(step.outputs[0])
    dtype = ELEMENT_TYPES[y.kind]
    if step.kind != "concat_plain":
        images = tuple(lowering.image(name) for name in step.inputs)
        return lowering.call(step, kernel, kernel.Concat(images, lowering.image(y.name), dtype), ())
    axis = step.integer("axis")
    rows, width = math.prod(y.shape[:axis]), math.prod(y.shape[axis + 1 :])
    parts = tuple(Image(1, rows, size * width) for size in step.integers("sizes"))
    spec = kernel.Concat(parts, Image(1, rows, y.shape[axis] * width), dtype)
    constants = [np.ascontiguousarray(constant).reshape(-1) for constant in step.constants.values()]
    return lowering.call(step, kernel, spec, constants, late=step.integer("late"))
