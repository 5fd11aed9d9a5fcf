"""Relu, Clip, HardSwish, HardSigmoid, Sigmoid, Tanh, LeakyRelu and PRelu: float32, or a table of 256 codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native import activations
from hwnas.export.native.ir import Step, Value
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Constant, Example, Form, IntegerFusion, Kind, refused
from hwnas.export.native.operators import function
from hwnas.export.native.operators.arithmetic import combined
from hwnas.export.native.quantisation import NOT_QUANTISED, accept, emit_table, target_of
from hwnas.export.native.reader import Reader, Tensor, attribute, channel_vector, clip_bounds

if TYPE_CHECKING:
    from onnx import NodeProto

_ANY = (Form("any", "over an image, a vector or a flattened image", "integer"),)
ONNX = {
    "Clip": (
        Form("quantised", "any bounds, as attributes or constants", "integer"),
        Form("relu", "float between 0 and 6, or from 0 on"),
        Form("float", "float with other bounds"),
    ),
    "HardSigmoid": (
        Form("quantised", "any alpha and beta", "integer"),
        Form("float", "float with alpha=1/6 and beta=0.5"),
        Form("slope", "float with others"),
    ),
    "HardSwish": _ANY,
    "LeakyRelu": _ANY,
    "PRelu": (
        Form("channel", "a slope that broadcasts to one number a channel, or to one number"),
        refused("spatial", "a slope that differs between the pixels of a channel"),
    ),
    "Relu": _ANY,
    "Sigmoid": _ANY,
    "Tanh": (Form("quantised", "of codes", "integer"), Form("float", "of floats")),
}
KINDS = {"activation_f32": Kind()}


def _number(value: float) -> Constant:
    return Constant(values=np.array(value, np.float32))


EXAMPLES = (
    Example("Relu", ((1, "C", "H", "W"),), {}, True),
    Example("Relu", ((1, "T", "D"),), {}, True),
    Example("HardSwish", ((1, "A", "B", "C", "D"),)),
    Example("Sigmoid", ((1, "N"),), {}, True),
    Example("LeakyRelu", ((1, "C", "H", "W"),), {"alpha": 0.2}, True),
    Example("Clip", ((1, "T", "D"), _number(-0.5), _number(0.7))),
    Example("Clip", ((1, "C", "H", "W"), _number(0.3))),
    Example("HardSigmoid", ((1, "T", "D"),), {"alpha": 0.3, "beta": 0.4}),
    Example("PRelu", ((1, "C", "H", "W"), Constant(("C", 1, 1)))),
)


def read(reader: Reader, node: NodeProto) -> None:
    """The function over floats of any rank."""
    if node.op_type == "Tanh":
        function.emit(reader, node, "tanh")
        return
    if node.op_type in ("Clip", "HardSigmoid") and not _is_known(reader, node):
        _in_steps(reader, node)
        return
    tensor = reader.tensor(node, 0)
    attributes: dict[str, object] = {"function": node.op_type.lower()}
    constants: dict[str, np.ndarray] = {}
    channels = reader.value(node, 0).channels
    if node.op_type == "Clip":
        low, high = clip_bounds(reader, node)
        attributes.update(low=low, high=high)
        if (low, high) == (0.0, np.inf):
            attributes["function"] = "relu"
    elif node.op_type == "LeakyRelu":
        attributes["function"] = "prelu"
        constants["slope"] = np.full(channels, attribute(node, "alpha", 0.01), np.float32)
    elif node.op_type == "PRelu":
        attributes["function"] = "prelu"
        constants["slope"] = channel_vector(reader, node, reader.constant(node, 1), tensor)
    source = reader.real(node, 0)
    value = source.like(node.output[0], "f32")
    reader.emit("activation_f32", node, (source.name,), value, attributes, constants)
    reader.define(node, value.name, Tensor(value.name, "real", tensor.shape))


def _is_known(reader: Reader, node: NodeProto) -> bool:
    """Whether one kernel computes it: Clip from 0 on or to 6, HardSigmoid of the usual slope."""
    if node.op_type == "Clip":
        return clip_bounds(reader, node) in ((0.0, np.inf), (0.0, 6.0))
    alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    return abs(alpha - 1 / 6) < 1e-6 and beta == 0.5


def _in_steps(reader: Reader, node: NodeProto) -> None:
    """min(max(x, low), high), of HardSigmoid with x * alpha + beta before."""
    made: Value | np.ndarray = reader.plain(node, 0)
    bounds = {"max": 0.0, "min": 1.0}
    if node.op_type == "HardSigmoid":
        slope = {"mul": attribute(node, "alpha", 0.2), "add": attribute(node, "beta", 0.5)}
        operations = {**slope, **bounds}
    else:
        operations = {key: v for key, v in zip(bounds, clip_bounds(reader, node), strict=True) if np.isfinite(v)}
    tensor = reader.tensor(node, 0)
    for index, (operation, number) in enumerate(operations.items(), 1):
        name = node.output[0] if index == len(operations) else f"{node.output[0]}:{operation}"
        made = combined(reader, node, operation, made, np.array([number], np.float32), name)
    assert isinstance(made, Value)
    reader.define(node, node.output[0], replace(tensor, value=made.name, form="real") if operations else tensor)


def as_table(reader: Reader, node: NodeProto) -> str | None:
    """One table of 256 codes."""
    if node.op_type == "PRelu":
        return "a table has one slope for all channels"
    source = reader.value(node, 0)
    target = target_of(reader, node, source, reader.tensor(node, 0).shape)
    if target is None:
        return NOT_QUANTISED
    bounds = (target.low, target.high)
    emit_table(reader, node, source, target.value, function_of(reader, node), node.op_type.lower(), bounds)
    accept(reader, node, target)
    return None


FUSIONS = (IntegerFusion(as_table),)


def function_of(reader: Reader, node: NodeProto) -> Callable[[activations.Float], activations.Float]:
    """The float32 function of the node with its attributes."""
    if node.op_type == "Clip":
        low, high = clip_bounds(reader, node)
        return partial(activations.clip, low=low, high=high)
    if node.op_type == "HardSigmoid":
        alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
        return partial(activations.hard_sigmoid, alpha=alpha, beta=beta)
    if node.op_type == "LeakyRelu":
        return partial(activations.leaky_relu, alpha=attribute(node, "alpha", 0.01))
    simple = {
        "Relu": activations.relu,
        "HardSwish": activations.hard_swish,
        "Sigmoid": activations.sigmoid,
        "Tanh": activations.tanh,
    }
    return simple[node.op_type]


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """An activation that no kernel before it could take in."""
    from hwnas.kernels import fp32_activation

    name = step.text("function")
    if name == "clip" and (step.attributes["low"], step.attributes["high"]) == (0.0, 6.0):
        name = "relu6"
    spec = fp32_activation.Fp32Activation(lowering.image(step.inputs[0]), lowering.image(step.outputs[0]), name)
    packed = fp32_activation.pack(spec, lowering.target, step.constants.get("slope"))
    return lowering.call(step, fp32_activation, spec, packed)
