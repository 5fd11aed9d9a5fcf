"""Concat along channels, float32 and 8-bit; codes of another scale go through a table first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.export.native.ir import ELEMENT_TYPES, Step, Value, image
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, IntegerFusion, Kind, refused
from hwnas.export.native.quantisation import NOT_QUANTISED, emit_quantised, emit_table, identity, target_of
from hwnas.export.native.reader import Reader, Tensor, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "Concat": (
        Form("channels", "along the channels of images or vectors, any number of scales", "integer"),
        refused("axis", "along another axis"),
    )
}
KINDS = {"concat_f32": Kind(exact=True), "concat_int": Kind(exact=True)}
EXAMPLES = (
    Example("Concat", ((1, "C", "H", "W"), (1, "D", "H", "W")), {"axis": 1}, True),
    Example("Concat", ((1, "C"), (1, "D"), (1, "C")), {"axis": 1}, True),
)


def read(reader: Reader, node: NodeProto) -> None:
    """Floats side by side."""
    images, shape = parts(reader, node)
    sources = [reader.real(node, index) for index in range(len(node.input))]
    value = image(node.output[0], "f32", *images[0].extent[:2], shape[1])
    reader.emit("concat_f32", node, tuple(s.name for s in sources), value)
    reader.define(node, value.name, Tensor(value.name, "real", shape))


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QLinearConcat."""
    if not all(reader.is_quantised(node, index) for index in range(len(node.input))):
        return "one of its inputs is not quantised"
    sources, shape = parts(reader, node)
    target = target_of(reader, node, image("", "u8", *sources[0].extent[:2], shape[1]), shape)
    if target is None:
        return NOT_QUANTISED
    value, names = target.value, list[str]()
    for index, source in enumerate(sources):
        if source.codes != value.codes:
            moved = source.like(f"{value.name}:part{index}", value.kind, value.scale, value.zero_point)
            emit_table(reader, node, source, moved, identity, "requantise")
            source = moved
        names.append(source.name)
    emit_quantised(reader, "concat_int", node, tuple(names), target)
    return None


FUSIONS = (IntegerFusion(as_integers),)


def parts(reader: Reader, node: NodeProto) -> tuple[list[Value], tuple[int, ...]]:
    """(the values that are joined along channels, the result's shape)."""
    sources = [reader.whole(node, index) for index in range(len(node.input))]
    shapes = [reader.tensor(node, index).shape for index in range(len(node.input))]
    rank, axis = len(shapes[0]), int(attribute(node, "axis", 1))
    if axis not in (1, 1 - rank):
        raise refuse(node, f"axis={axis}", ("axis=1, channels",))
    if any(len(shape) != rank or shape[2:] != shapes[0][2:] for shape in shapes):
        raise refuse(node, f"shapes {[list(shape) for shape in shapes]}", ("one height and width",))
    if rank not in (2, 4) or any(shape[0] != 1 for shape in shapes):
        raise refuse(node, f"shapes {[list(shape) for shape in shapes]}", ("[1, C, H, W]", "[1, C]"))
    return sources, (1, sum(shape[1] for shape in shapes), *shapes[0][2:])


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """One kernel for every element type."""
    from hwnas.kernels import concat as kernel

    dtype = ELEMENT_TYPES[lowering.value(step.outputs[0]).kind]
    images = tuple(lowering.image(name) for name in step.inputs)
    return lowering.call(step, kernel, kernel.Concat(images, lowering.image(step.outputs[0]), dtype), ())
