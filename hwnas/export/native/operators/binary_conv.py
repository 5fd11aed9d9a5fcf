"""hwnas::BinaryConv: signs by thresholds, a 1-bit convolution, times scale, plus bias, on packed bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.elementwise import adds_equals
from hwnas.export.native.ir import Step, Value, image
from hwnas.export.native.layout import window_of
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, Kind, Needs, StepFusion
from hwnas.export.native.reader import Reader, attribute, refuse
from hwnas.export.native.skeleton import Skeleton
from hwnas.export.native.windows import groups_of, window

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "hwnas::BinaryConv": (Form("any", "domain hwnas, any window and groups; runs on packed bits", "integer"),),
}
KINDS = {"binary_conv": Kind(exact=True, thresholds=True), "sign_pack": Kind(exact=True, thresholds=True)}
EXAMPLES: tuple[Example, ...] = ()  # no runtime knows the operator but by its function: tests/native/nets.py


def read(reader: Reader, node: NodeProto) -> None:
    """A step that packs signs and one that convolves them."""
    source = reader.image(node, 0)
    packed = reader.constant(node, 2, np.uint8)
    if packed.ndim != 4:
        raise refuse(node, f"a weight {list(packed.shape)}", ("uint8 [O, KH, KW, ceil(C / groups / 8)]",))
    out, kh, kw, packed_bytes = packed.shape
    attributes, height, width = window(node, (kh, kw), source)
    groups, per_group = groups_of(node), int(attribute(node, "in_channels", 0))
    if per_group * groups != source.channels or packed_bytes != -(-per_group // 8) or out % groups:
        raise refuse(
            node,
            f"in_channels={per_group} group={groups}, weight {list(packed.shape)} over {source.channels} channels",
            ("in_channels * group = C",),
        )
    attributes.update(groups=groups, in_channels=per_group)
    vectors = {}
    for name, index, size in (("threshold", 1, source.channels), ("scale", 3, out), ("bias", 4, out)):
        given = reader.constant(node, index)
        if given.size not in (1, size) or not np.isfinite(given).all():
            raise refuse(node, f"its {name} of shape {list(given.shape)}", (f"{size} finite numbers",))
        vectors[name] = np.ascontiguousarray(np.broadcast_to(given.reshape(-1), (size,)))
    source = reader.real(node, 0)
    bits = image(f"{node.output[0]}:bits", "bits", *source.extent)
    reader.emit("sign_pack", node, (source.name,), bits, {"groups": groups}, {"threshold": vectors.pop("threshold")})
    value = image(node.output[0], "f32", height, width, out)
    reader.emit("binary_conv", node, (bits.name,), value, attributes, {"weight": packed, **vectors})
    reader.set_real(node, value, 4)


def stand_in(node: NodeProto, skeleton: Skeleton) -> NodeProto:
    """A Conv of the same window, whose output has the same shape."""
    from onnx import helper

    packed = skeleton.constant(node.input[2]) if len(node.input) == 5 else None
    if packed is None or packed.ndim != 4:
        raise HwnasError(
            f"node {node.name or node.output[0]!r} (BinaryConv): its weight must be a constant of 4 dimensions",
            nearest=("uint8 [O, KH, KW, ceil(C / groups / 8)]",),
        )
    channels = next((int(item.i) for item in node.attribute if item.name == "in_channels"), 0)
    out, height, width, _ = packed.shape
    weight = skeleton.float_input("weight", (out, channels, height, width))
    conv = helper.make_node("Conv", [node.input[0], weight], node.output, node.name)
    conv.attribute.extend(item for item in node.attribute if item.name != "in_channels")
    return conv


def with_prelu(step: Step, user: Step, alone: bool) -> Step | str:
    """binary_conv -> PRelu."""
    return _with_slope(step, user, 1) if alone else "something else reads its result"


def with_residual(step: Step, user: Step, alone: bool) -> Step | str:
    """binary_conv (-> PRelu) -> Add(shortcut)."""
    other = [name for name in user.inputs if name != step.outputs[0]]
    if not alone or not adds_equals(user) or len(step.inputs) != 1 or len(other) != 1:
        return "its epilogue adds one image of the same shape to a result that nothing else reads"
    return step.joined(user, (step.inputs[0], other[0]))


def with_later_prelu(step: Step, user: Step, alone: bool) -> Step | str:
    """binary_conv -> Add(shortcut) -> PRelu, where no PRelu came before the sum."""
    return _with_slope(step, user, 2) if alone else "something else reads its result"


def _with_slope(step: Step, user: Step, inputs: int) -> Step | str:
    if len(step.inputs) != inputs or user.text("function") != "prelu" or "slope" in step.constants:
        return "its epilogue computes one PRelu"
    joined = step.joined(user, residual_first=True) if inputs == 2 else step.joined(user)
    return replace(joined, constants={**step.constants, "slope": user.constants["slope"]})


def with_signs(step: Step, user: Step, alone: bool) -> Step | str:
    """binary_conv -> sign_pack: the signs leave the epilogue; the float stream stays where anything else reads it."""
    if "threshold" in step.constants:
        return "its epilogue packs the signs of one reader"
    bare = alone and len(step.inputs) == 1 and "slope" not in step.constants
    return replace(
        step,
        outputs=user.outputs if bare else (step.outputs[0], user.outputs[0]),
        attributes={**step.attributes, "signs": True},
        constants={**step.constants, "threshold": user.constants["threshold"]},
    )


# before those of floats: of two producers of one sum, this one's epilogue also packs the next signs
FUSIONS = (
    StepFusion(("binary_conv", "activation_f32"), with_prelu, turn=0),
    StepFusion(("binary_conv", "add_f32"), with_residual, turn=1),
    StepFusion(("binary_conv", "activation_f32"), with_later_prelu, turn=2),
    StepFusion(("binary_conv", "sign_pack"), with_signs, turn=6, place="first"),
)


def needs(step: Step, value: Value) -> Needs:
    """The padding around the packed input."""
    return Needs(window_of(step).reach(value.height, value.width)) if step.kind == "binary_conv" else Needs()


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """BinaryConv with what was fused into it: PRelu, shortcut, the next layer's signs; or the signs alone."""
    return _packed(lowering, step) if step.kind == "sign_pack" else _convolved(lowering, step)


def _convolved(lowering: Lowering, step: Step) -> KernelCall:
    from hwnas.kernels import binary_conv as kernel
    from hwnas.kernels.packed_bits import unpack_weight_bytes

    constants = step.constants
    x = lowering.value(step.inputs[0])
    weights = unpack_weight_bytes(constants["weight"], step.integer("in_channels"))
    parameters = kernel.BinaryParameters(weights, constants["scale"], constants["bias"], constants.get("slope"))
    signs, streams = bool(step.attributes.get("signs")), [lowering.value(n).kind == "f32" for n in step.outputs]
    output = ("float+bits" if any(streams) else "bits") if signs else "float"
    if output == "float+bits":
        parameters = replace(parameters, threshold=constants["threshold"])
    spec = kernel.BinaryConv(
        lowering.image(x.name),
        x.channels,
        len(weights),
        window_of(step),
        step.integer("groups"),
        "zero",
        output,
        lowering.image(step.outputs[0]) if any(streams) else None,
        lowering.image(step.outputs[-1]) if signs else None,
        lowering.image(step.inputs[1]) if len(step.inputs) > 1 else None,
        "prelu" if "slope" in constants else "none",
        bool(step.attributes.get("residual_first")),
    )
    if output == "bits":
        flipped, threshold = integer_threshold(weights, constants, spec.dot_length)
        parameters = kernel.BinaryParameters(flipped, threshold=threshold)
    return lowering.call(step, kernel, spec, kernel.pack(spec, lowering.target, parameters), macs=spec.macs)


def integer_threshold(
    weights: np.ndarray, constants: Mapping[str, np.ndarray], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """(weights, int32 threshold [O]) such that dot >= threshold is the float expression's sign, bit for bit.

    float32(dot) * scale + bias >= threshold is monotone in the dot product: rising where scale > 0, falling where
    scale < 0 (there the row's weights are negated, which negates the dot product). The expression itself is
    evaluated for every possible dot product, so its rounding is part of the answer.
    """
    scale, bias, limit = (constants[key].astype(np.float32) for key in ("scale", "bias", "threshold"))
    falling = scale < 0
    flipped = np.where(falling.reshape(-1, 1, 1, 1), -weights, weights).astype(np.int8)
    dots = np.arange(-length, length + 1, dtype=np.int64)
    thresholds = np.empty(len(scale), np.int32)
    for channel in range(len(scale)):
        signed = (-dots if falling[channel] else dots).astype(np.float32)
        above = signed * scale[channel] + bias[channel] >= limit[channel]
        thresholds[channel] = dots[np.argmax(above)] if above.any() else length + 1
    return flipped, thresholds


def _packed(lowering: Lowering, step: Step) -> KernelCall:
    """Float stream to packed signs, v >= threshold of its channel."""
    from hwnas.kernels import sign_pack as kernel

    spec = kernel.SignPack(lowering.image(step.inputs[0]), lowering.image(step.outputs[0]))
    packed = kernel.pack(spec, lowering.target, step.constants["threshold"])
    return lowering.call(step, kernel, spec, packed)
