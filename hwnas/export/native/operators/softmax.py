"""Softmax over any axis in float32; over the channels of a vector in 8-bit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hwnas.export.native.ir import Step, plain
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, IntegerFusion, Kind
from hwnas.export.native.quantisation import NOT_QUANTISED, emit_quantised, target_of
from hwnas.export.native.reader import Reader, Tensor, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "Softmax": (
        Form(
            "channels", "over the channels of a vector or the last axis of any other shape, uint8 to uint8", "integer"
        ),
        Form("float", "the same with int8 on one side; over the channels of every pixel"),
        Form("axis", "over any other axis, or over a flattened image"),
    )
}
KINDS = {
    "softmax_axis_f32": Kind(),
    "softmax_axis_int": Kind(exact=True),
    "softmax_f32": Kind(),
    "softmax_int": Kind(exact=True),
}
EXAMPLES = (
    Example("Softmax", ((1, "N"),), {"axis": 1}),
    Example("Softmax", ((1, "C", "H", "W"),), {"axis": 1}),
    Example("Softmax", ((1, "T", "D"),), {"axis": -1}),
    Example("Softmax", ((1, "H", "T", "U"),), {"axis": -1}),
    Example("Softmax", ((1, "T", "D"),), {"axis": 1}),
    Example("Softmax", ((1, "A", "B", "C", "D"),), {"axis": 2}),
)


def read(reader: Reader, node: NodeProto) -> None:
    """Over the numbers that lie together in any layout; over another axis the tensor is read in ONNX's order."""
    shape = reader.tensor(node, 0).shape
    if reader.is_view(reader.tensor(node, 0)) or not over_channels(reader, node):
        axis, source = _axis(reader, node), reader.plain(node, 0)
        value = plain(node.output[0], "f32", shape)
        reader.emit("softmax_axis_f32", node, (source.name,), value, {"axis": axis})
        reader.result(node, value)
        return
    source = reader.real(node, 0)
    value = source.like(node.output[0], "f32")
    reader.emit("softmax_f32", node, (source.name,), value)
    reader.define(node, value.name, Tensor(value.name, "real", shape))


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QLinearSoftmax of a uint8 vector of two numbers or more."""
    if reader.is_view(reader.tensor(node, 0)):
        return "it is over a flattened image"
    if not over_channels(reader, node):
        return _rows_as_integers(reader, node)
    source = reader.value(node, 0)
    target = target_of(reader, node, source, reader.tensor(node, 0).shape)
    if target is None:
        return NOT_QUANTISED
    if source.layout == "plain" and source.pixels > 1:
        return _rows_as_integers(reader, node)
    if source.pixels != 1 or source.channels < 2 or {source.kind, target.value.kind} != {"u8"}:
        return "its input is no uint8 vector of two numbers or more, or its result is int8"
    emit_quantised(reader, "softmax_int", node, (source.name,), target)
    return None


def _rows_as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QLinearSoftmax of every row of two uint8 numbers or more."""
    shape = reader.tensor(node, 0).shape
    target = target_of(reader, node, plain("", "u8", shape))
    if target is None:
        return NOT_QUANTISED
    if _axis(reader, node) != len(shape) - 1 or shape[-1] < 2:
        return "it is not over the last axis, of two numbers or more"
    if {reader.value(node, 0).kind, target.value.kind} != {"u8"}:
        return "its input or its result is int8"
    source = reader.plain_codes(node, 0)
    emit_quantised(reader, "softmax_axis_int", node, (source.name,), target)
    return None


FUSIONS = (IntegerFusion(as_integers),)


def _axis(reader: Reader, node: NodeProto) -> int:
    rank, axis = len(reader.tensor(node, 0).shape), int(attribute(node, "axis", -1))
    if not -rank <= axis < rank:
        raise refuse(node, f"axis={axis} of {rank} dimensions", ("axis=-1",))
    return axis % rank


def over_channels(reader: Reader, node: NodeProto) -> bool:
    """Whether it is over the numbers that lie together: an image's channels, another tensor's last axis."""
    shape = reader.tensor(node, 0).shape
    channels = (len(shape) in (2, 4) and shape[0] == 1) or reader.value(node, 0).layout == "nhwc"
    together = 1 if channels else len(shape) - 1
    return _axis(reader, node) == together


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """The float kernel, or QLinearSoftmax."""
    if step.kind == "softmax_f32":
        from hwnas.kernels import fp32_softmax

        spec = fp32_softmax.Fp32Softmax(lowering.image(step.inputs[0]), lowering.image(step.outputs[0]))
        return lowering.call(step, fp32_softmax, spec, ())
    if step.kind == "softmax_axis_f32":
        return _over_axis(lowering, step)
    from hwnas.kernels import int8_softmax

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    given, made = lowering.image(x.name), lowering.image(y.name)
    if step.kind == "softmax_axis_int":
        from hwnas.kernels.image import Image

        given = made = Image(1, math.prod(x.shape[:-1]), x.shape[-1])
    codes = int8_softmax.Int8Softmax(given, made, y.zero_point)
    return lowering.call(step, int8_softmax, codes, int8_softmax.pack(codes, lowering.target, x.scale, y.scale))


def _over_axis(lowering: Lowering, step: Step) -> KernelCall:
    """Vectors along the axis where it is the last, else across what follows it."""
    from hwnas.kernels import fp32_softmax, fp32_softmax_axis
    from hwnas.kernels.image import Image

    shape, axis = lowering.value(step.inputs[0]).shape, step.integer("axis")
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    if inner == 1:
        rows = Image(1, outer, shape[axis])
        return lowering.call(step, fp32_softmax, fp32_softmax.Fp32Softmax(rows, rows), ())
    spec = fp32_softmax_axis.Fp32SoftmaxAxis(outer, shape[axis], inner)
    return lowering.call(step, fp32_softmax_axis, spec, ())
