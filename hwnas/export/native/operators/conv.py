"""Conv: one- or two-dimensional convolution with constant weights, grouped and depthwise, float32 and 8-bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.elementwise import activation_of, adds_equals
from hwnas.export.native.ir import Step, Value, image
from hwnas.export.native.layout import window_of
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Constant, Example, Form, IntegerFusion, Kind, Needs, StepFusion, refused
from hwnas.export.native.quantisation import (
    NOT_QUANTISED,
    bias_of,
    emit_quantised,
    integer_weights,
    linear_constants,
    target_of,
)
from hwnas.export.native.reader import Reader, refuse
from hwnas.export.native.sequences import as_image
from hwnas.export.native.windows import FORMS, groups_of, window

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "Conv": (
        Form("window", FORMS[0].text + "; group; over [1, C, L] as over an image of one row", "integer"),
        Form("bias", "an int32 bias with the scale s_x * s_w, with one of its own, or a float one", "integer"),
        Form("weights", "float weights; uint8 ones; zero points that are not 0"),
        refused("dimensions", "three spatial dimensions"),
    )
}
KINDS = {"conv_f32": Kind(), "conv_int": Kind(exact=True)}
EXAMPLES = (
    Example("Conv", ((1, "C", "H", "W"), Constant(("O", "C", 3, 3)), Constant(("O",))), {"pads": [1, 1, 1, 1]}, True),
    Example("Conv", ((1, "C", "H", "W"), Constant(("O", "C", 1, 1))), {"strides": [2, 2]}, True),
    Example("Conv", ((1, "C", "L"), Constant(("O", "C", 3)), Constant(("O",))), {"pads": [1, 2], "strides": [2]}, True),
    Example("Conv", ((1, 6, "L"), Constant((6, 1, 2))), {"group": 6, "pads": [1, 0], "dilations": [1]}, True),
    Example("Conv", ((1, 8, "H", "W"), Constant((8, 1, 3, 3))), {"group": 8, "pads": [1, 1, 1, 1]}, True),
)


def read(reader: Reader, node: NodeProto) -> None:
    """Conv with float weights (or integer weights whose result nobody quantises)."""
    node = as_image(reader, node)
    source, weight = reader.image(node, 0), reader.constant(node, 1)
    bias = reader.optional_constant(node, 2)
    out, kh, kw = conv_shape(node, weight, source)
    attributes, height, width = window(node, (kh, kw), source)
    attributes["groups"] = groups_of(node)
    bias = np.zeros(out, np.float32) if bias is None else bias_of(node, bias, (out,))
    source = reader.real(node, 0, padded=attributes["pads"] != (0, 0, 0, 0))
    value = image(node.output[0], "f32", height, width, out)
    reader.emit("conv_f32", node, (source.name,), value, attributes, {"weight": weight, "bias": bias})
    reader.set_real(node, value, 4)


def conv_shape(node: NodeProto, weight: np.ndarray, source: Value) -> tuple[int, int, int]:
    """(output channels, kernel height, kernel width) of a convolution's weight, checked against its input."""
    groups = groups_of(node)
    fits = weight.ndim == 4 and weight.shape[1] * groups == source.channels and weight.shape[0] % groups == 0
    if not fits:
        raise refuse(
            node,
            f"a weight {list(weight.shape)} in {groups} groups over {source.channels} channels",
            ("[O, C / groups, KH, KW]",),
        )
    return weight.shape[0], weight.shape[2], weight.shape[3]


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QLinearConv."""
    node = as_image(reader, node)
    weight = integer_weights(reader, node, 0)
    if isinstance(weight, str):
        return weight
    source = reader.image(node, 0)
    out, kh, kw = conv_shape(node, weight.integers, source)
    attributes, height, width = window(node, (kh, kw), source)
    target = target_of(reader, node, image("", "u8", height, width, out))
    if target is None:
        return NOT_QUANTISED
    constants = linear_constants(reader, node, weight, weight.integers, target, (out,))
    if isinstance(constants, str):
        return constants
    attributes["groups"] = groups_of(node)
    emit_quantised(reader, "conv_int", node, (source.name,), target, attributes, constants)
    return None


def with_activation(step: Step, user: Step, alone: bool) -> Step | str:
    """conv_f32 -> Relu, Clip(0, 6), HardSwish or Sigmoid."""
    function = activation_of(user)
    if not alone or "activation" in step.attributes or function is None:
        return "its epilogue computes one activation of a result that nothing else reads"
    return step.joined(user, activation=function)


def with_residual(step: Step, user: Step, alone: bool) -> Step | str:
    """conv_f32 (-> activation) -> Add: the sum comes last in both. Depthwise kernels add nothing."""
    if not alone or not adds_equals(user) or len(step.inputs) != 1:
        return "its epilogue adds one image of the same shape to a result that nothing else reads"
    other = [name for name in user.inputs if name != step.outputs[0]]
    depthwise = step.integer("groups") > 1 and step.integer("groups") == len(step.constants["weight"])
    if len(other) != 1 or depthwise:
        return "a depthwise kernel adds nothing" if depthwise else "it is added to itself"
    return step.joined(user, (step.inputs[0], other[0]), residual=True)


FUSIONS = (
    IntegerFusion(as_integers),
    StepFusion(("conv_f32", "activation_f32"), with_activation, turn=3),
    StepFusion(("conv_f32", "add_f32"), with_residual, turn=4),
)


def needs(step: Step, value: Value) -> Needs:
    """The padding around the input, and channels by fours where one instruction takes four bytes."""
    quads = step.kind == "conv_int" and step.integer("groups") == 1 and value.kind in ("u8", "i8")
    return Needs(window_of(step).reach(value.height, value.width), 4 if quads else 1)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """Convolution with activation and residual; depthwise ones with their own kernel."""
    x, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    depthwise = step.integer("groups") > 1 and step.integer("groups") == x.channels == y.channels
    if step.kind == "conv_int":
        return _depthwise_integers(lowering, step) if depthwise else _integers(lowering, step)
    activation = step.text("activation") or "none"
    weight, bias = step.constants["weight"], step.constants["bias"]
    if depthwise:
        from hwnas.kernels import fp32_depthwise

        narrow = fp32_depthwise.Fp32Depthwise(x, y, window_of(step), activation)
        packed = fp32_depthwise.pack(narrow, lowering.target, weight, bias)
        return lowering.call(step, fp32_depthwise, narrow, packed, macs=narrow.macs)
    from hwnas.kernels import fp32_conv

    residual = lowering.image(step.inputs[1]) if len(step.inputs) > 1 else None
    spec = fp32_conv.Fp32Conv(x, y, window_of(step), step.integer("groups"), activation, residual)
    packed = fp32_conv.pack(spec, lowering.target, weight, bias)
    return lowering.call(step, fp32_conv, spec, packed, late=len(step.inputs) - 1, macs=spec.macs)


def _integers(lowering: Lowering, step: Step) -> KernelCall:
    from hwnas.kernels import int8_conv

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    spec = int8_conv.Int8Conv(
        lowering.image(x.name),
        lowering.image(y.name),
        window_of(step),
        step.integer("groups"),
        y.zero_point,
        x.kind == "i8",
        y.kind == "i8",
    )
    constants = step.constants
    packed = int8_conv.pack(
        spec, lowering.target, constants["weight"], constants["bias"], constants["scale"], x.zero_point
    )
    return lowering.call(step, int8_conv, spec, packed, macs=spec.macs)


def _depthwise_integers(lowering: Lowering, step: Step) -> KernelCall:
    from hwnas.kernels import int8_depthwise

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    spec = int8_depthwise.Int8Depthwise(
        lowering.image(x.name), lowering.image(y.name), window_of(step), y.zero_point, x.kind == "i8", y.kind == "i8"
    )
    constants = step.constants
    packed = int8_depthwise.pack(
        spec, lowering.target, constants["weight"], constants["bias"], constants["scale"], x.zero_point
    )
    return lowering.call(step, int8_depthwise, spec, packed, macs=spec.macs)
