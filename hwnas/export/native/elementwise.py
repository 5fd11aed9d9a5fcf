"""What Add and Mul share: operands of one shape, or one that is broadcast, over images or plain values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.fold import folded
from hwnas.export.native.ir import Step, Value
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Constant, Example, Form, IntegerFusion, StepFusion
from hwnas.export.native.quantisation import NOT_QUANTISED, emit_quantised, target_of
from hwnas.export.native.reader import Reader, Tensor, broadcast_constant, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

#: activations that the epilogues of float kernels compute
EPILOGUES = ("relu", "hardswish", "relu6", "sigmoid")
FORMS = (
    Form("equal", "two activations of one shape, uint8 on both sides and in the result", "integer"),
    Form("int8", "the same where one of the three is int8"),
    Form("channel", "a constant that numpy's rules broadcast to one number a channel, or to one number"),
    Form("spatial", "a constant or activation that numpy's rules broadcast otherwise, or that enlarges the other"),
)


def examples(operator: str) -> tuple[Example, ...]:
    """Operands of one shape of several ranks, and constants."""
    return (
        Example(operator, ((1, "C", "H", "W"), (1, "C", "H", "W")), {}, True),
        Example(operator, ((1, "T", "D"), (1, "T", "D")), {}, True),
        Example(operator, ((1, "A", "B", "C", "D"), (1, "A", "B", "C", "D"))),
        Example(operator, ((1, "C", "H", "W"), Constant((1, "C", 1, 1)))),
        Example(operator, ((1, "T", "D"), Constant(("D",)))),
        Example(operator, ((1, "C", "H", "W"), Constant(("H", "W")))),
        Example(operator, ((1, 1, "W"), Constant((1, "H", "W")))),
        Example(operator, ((1, "H", "T", "S"), (1, 1, 1, "S"))),
        Example(operator, ((1, "T", 1), (1, 1, "D"))),
    )


def read_pair(reader: Reader, node: NodeProto, kind: str) -> None:
    """A float step of two activations, or of an activation and a constant; a smaller one is broadcast as numpy does."""
    if folded(reader, node, np.multiply if kind == "mul_f32" else np.add):
        return
    constant = next((i for i in (0, 1) if reader.is_constant(node.input[i])), None)
    names: tuple[str, ...]
    constants: dict[str, np.ndarray] = {}
    pair = operands(reader, node) if constant is None else None
    if constant is not None:
        array = reader.constant(node, constant)
        source, tensor = _enlarged(reader, node, 1 - constant, array.shape)
        constants = {"vector": broadcast_constant(reader, node, array, tensor)}
        shape, broadcast, names = tensor.shape, False, (source.name,)
    elif pair is not None:
        (larger, _), shape, broadcast = pair
        first, second = reader.real(node, 0), reader.real(node, 1)
        if reader.value(node, 0).name != larger:
            first, second = second, first
        source, names = first, (first.name, second.name)
    else:
        source, tensor = _enlarged(reader, node, 0, reader.tensor(node, 1).shape)
        second, _ = _enlarged(reader, node, 1, reader.tensor(node, 0).shape)
        if source.layout != second.layout:  # a sequence that lies as an image of one row, beside one that does not
            source, second = (
                reader.plain(node, index) if value.layout == "nhwc" and len(tensor.shape) == 3 else value
                for index, value in enumerate((source, second))
            )
        shape, broadcast, names = tensor.shape, False, (source.name, second.name)
    value = source.like(node.output[0], "f32")
    reader.emit(kind, node, names, value, {"broadcast": broadcast}, constants)
    reader.define(node, value.name, Tensor(value.name, "real", shape))


def _enlarged(reader: Reader, node: NodeProto, index: int, other: tuple[int, ...]) -> tuple[Value, Tensor]:
    """Input `index` as floats of the shape that numpy gives it beside one of shape `other`."""
    tensor = reader.tensor(node, index)
    try:
        shape = tuple(map(int, np.broadcast_shapes(tensor.shape, other)))
    except ValueError:
        raise refuse(node, f"shapes {list(tensor.shape)} and {list(other)}", ("shapes that broadcast",)) from None
    if shape == tensor.shape and not (reader.is_view(tensor) and math.prod(other) > 1):
        return reader.real(node, index), tensor
    value = reader.expanded(node, index, shape)
    return value, Tensor(value.name, "real", shape)


def pair_as_integers(kind: str, broadcasts: bool) -> IntegerFusion:
    """QLinearAdd or QLinearMul over uint8 as steps of `kind`; only one of them `broadcasts` a vector a channel."""

    def rewrite(reader: Reader, node: NodeProto) -> str | None:
        if not (reader.is_quantised(node, 0) and reader.is_quantised(node, 1)):
            return "one of its operands is not quantised"
        pair = operands(reader, node)
        if pair is None:
            return "its operands have other shapes"
        names, shape, broadcast = pair
        first, second = (reader.values[name] for name in names)
        target = target_of(reader, node, first, shape)
        if target is None:
            return NOT_QUANTISED
        if {first.kind, second.kind, target.value.kind} != {"u8"}:
            return "one of its operands or its result is int8"
        if broadcast and not broadcasts:
            return "one of its operands is broadcast"
        emit_quantised(reader, kind, node, names, target)
        return None

    return IntegerFusion(rewrite)


def operands(reader: Reader, node: NodeProto) -> tuple[tuple[str, str], tuple[int, ...], bool] | None:
    """(value names of the larger and the smaller operand, the result's shape, whether the smaller is broadcast): two of
    one shape, or an image and a vector a channel [1, C, 1, 1], which the kernels broadcast; None of others."""
    first, second = reader.tensor(node, 0), reader.tensor(node, 1)
    a, b = reader.values[first.value], reader.values[second.value]
    if first.shape == second.shape and a.extent == b.extent and a.is_image == b.is_image:
        return (a.name, b.name), first.shape, False
    if a.pixels < b.pixels:
        first, second, a, b = second, first, b, a
    fits = len(first.shape) == len(second.shape) == 4 and b.pixels == 1 and a.channels == b.channels
    return ((a.name, b.name), first.shape, True) if fits and a.is_image and b.is_image else None


def adds_equals(step: Step) -> bool:
    """Whether the step adds two images of one shape: no epilogue broadcasts what it adds."""
    return step.kind == "add_f32" and len(step.inputs) == 2 and not step.attributes.get("broadcast")


def activation_of(step: Step) -> str | None:
    """The activation's name as the kernels' epilogues know it; None where they do not."""
    function = step.text("function")
    if function == "clip" and (step.attributes["low"], step.attributes["high"]) == (0.0, 6.0):
        function = "relu6"
    return function if function in EPILOGUES else None


def with_activation(step: Step, user: Step, alone: bool) -> Step | str:
    """add_f32 or mul_f32 -> Relu, Clip(0, 6), HardSwish or Sigmoid."""
    function = activation_of(user)
    if not alone or "activation" in step.attributes or function is None:
        return "its kernel computes one activation of a result that nothing else reads"
    return step.joined(user, activation=function)


def activation_fusion(kind: str) -> StepFusion:
    """The activation in one pass with a sum or product of this kind."""
    return StepFusion((kind, "activation_f32"), with_activation, turn=5)


def bind_pair(lowering: Lowering, step: Step, operation: str) -> KernelCall:
    """The float kernel of a sum or a product."""
    from hwnas.kernels import fp32_binary
    from hwnas.kernels.image import Image

    a, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    vector = step.constants.get("vector")
    b = lowering.image(step.inputs[-1]) if vector is None else Image(1, 1, a.channels)
    if vector is not None and vector.ndim > 1:
        b = Image(a.height, a.width, a.channels)
    spec = fp32_binary.Fp32Binary(a, b, y, operation, step.text("activation") or "none")
    constants = () if vector is None else (vector.astype(np.float32),)
    return lowering.call(step, fp32_binary, spec, constants)


Codes = tuple[tuple[float, float, float], tuple[int, int, int]]


def codes_of(lowering: Lowering, step: Step) -> Codes:
    """The scales and the zero points of both operands and the result."""
    a, b, y = (lowering.value(name) for name in (*step.inputs, *step.outputs))
    return (a.scale, b.scale, y.scale), (a.zero_point, b.zero_point, y.zero_point)
