"""Softmax over channels: float32 of a vector or of every pixel of an image, uint8 of a vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.export.native.ir import Step
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, IntegerFusion, Kind, refused
from hwnas.export.native.quantisation import NOT_QUANTISED, emit_quantised, target_of
from hwnas.export.native.reader import Reader, Tensor, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "Softmax": (
        Form("channels", "over the channels of a vector, uint8 to uint8", "integer"),
        Form("float", "the same with int8 on one side; over the channels of every pixel"),
        refused("axis", "over another axis, or over a flattened image"),
    )
}
KINDS = {"softmax_f32": Kind(), "softmax_int": Kind(exact=True)}
EXAMPLES = (
    Example("Softmax", ((1, "N"),), {"axis": 1}),
    Example("Softmax", ((1, "C", "H", "W"),), {"axis": 1}),
    Example("Softmax", ((1, "T", "D"),), {"axis": -1}),
)


def read(reader: Reader, node: NodeProto) -> None:
    """Softmax over the channels of a vector, of every pixel of an image, or over the last axis of any other shape."""
    shape = reader.tensor(node, 0).shape
    reader.whole(node, 0)
    channel_axis(reader, node)
    source = reader.real(node, 0)
    value = source.like(node.output[0], "f32")
    reader.emit("softmax_f32", node, (source.name,), value)
    reader.define(node, value.name, Tensor(value.name, "real", shape))


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QLinearSoftmax of a uint8 vector of two numbers or more."""
    source = reader.whole(node, 0)
    target = target_of(reader, node, source, reader.tensor(node, 0).shape)
    channel_axis(reader, node)
    if target is None:
        return NOT_QUANTISED
    if source.pixels != 1 or source.channels < 2 or {source.kind, target.value.kind} != {"u8"}:
        return "its input is no uint8 vector of two numbers or more, or its result is int8"
    emit_quantised(reader, "softmax_int", node, (source.name,), target)
    return None


FUSIONS = (IntegerFusion(as_integers),)


def channel_axis(reader: Reader, node: NodeProto) -> None:
    """Refuses a Softmax over anything but the numbers that lie together."""
    shape, axis = reader.tensor(node, 0).shape, int(attribute(node, "axis", -1))
    rank = len(shape)
    together = 1 if rank in (2, 4) and shape[0] == 1 else rank - 1
    if axis not in (together, together - rank):
        raise refuse(node, f"axis={axis} of {rank} dimensions", (f"axis={together}, channels",))


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """The float kernel, or QLinearSoftmax."""
    if step.kind == "softmax_f32":
        from hwnas.kernels import fp32_softmax

        spec = fp32_softmax.Fp32Softmax(lowering.image(step.inputs[0]), lowering.image(step.outputs[0]))
        return lowering.call(step, fp32_softmax, spec, ())
    from hwnas.kernels import int8_softmax

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    codes = int8_softmax.Int8Softmax(lowering.image(x.name), lowering.image(y.name), y.zero_point)
    return lowering.call(step, int8_softmax, codes, int8_softmax.pack(codes, lowering.target, x.scale, y.scale))
