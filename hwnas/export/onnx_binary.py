"""hwnas::BinaryConv: a 1-bit convolution as a model-local ONNX function; any ONNX runtime gives its exact result.

Weights are stored at one bit each. The body unpacks them (runtimes fold that at load time: the weights are constants)
and convolves integers. Signs are uint8 codes 0 and 2 about a zero point of 1: they stand for -1 and +1, and
ConvInteger pads with the zero point, which stands for exactly 0. Products stay within +-4, so that even the
saturating 16-bit multiply-add of x86 before VNNI is exact.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper

DOMAIN = "hwnas"
INPUTS = ("x", "threshold", "weight", "scale", "bias")
CONV_ATTRIBUTES = ("dilations", "group", "kernel_shape", "pads", "strides")
OPSET = 21


def binary_conv_function() -> onnx.FunctionProto:
    """BinaryConv(x float (N, C, H, W), threshold (C,), weight uint8 (O, KH, KW, bytes), scale (O,), bias (O,)).

    float(conv(sign(x), sign bits)) * scale[o] + bias[o]; sign(v) = +1 where v >= threshold[c], else -1. Bits run along
    input channels, least significant first, 1 = +1; `in_channels` = channels a group, in ceil(in_channels / 8) bytes.
    """
    nodes = [*_signs(), *_weights(), *_convolution()]
    return helper.make_function(
        DOMAIN,
        "BinaryConv",
        list(INPUTS),
        ["y"],
        nodes,
        [helper.make_opsetid("", OPSET)],
        attributes=[*CONV_ATTRIBUTES, "in_channels"],
    )


def _constant(name: str, value: object, kind: type) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value, dtype=kind), name))


def _signs() -> list[onnx.NodeProto]:
    """x as codes: 2 where x >= threshold, else 0; and vectors over channels shaped to broadcast over pixels."""
    node = helper.make_node
    return [
        _constant("plane", [1, 2], np.int64),
        _constant("minus", 0, np.uint8),
        _constant("plus", 2, np.uint8),
        _constant("zero", 1, np.uint8),
        node("Unsqueeze", ["threshold", "plane"], ["limit"]),
        node("Unsqueeze", ["scale", "plane"], ["factor"]),
        node("Unsqueeze", ["bias", "plane"], ["shift"]),
        node("GreaterOrEqual", ["x", "limit"], ["positive"]),
        node("Where", ["positive", "plus", "minus"], ["codes"]),
    ]


def _weights() -> list[onnx.NodeProto]:
    """Packed bytes to int8 (O, C, KH, KW) of +1 and -1: all constants, folded when the model is loaded."""
    node = helper.make_node
    channels = node("Constant", [], ["channels"])
    channels.attribute.append(_reference("in_channels", "value_int", AttributeProto.INT))
    return [
        channels,
        _constant("first", [0], np.int64),
        _constant("last", [-1], np.int64),
        _constant("one_step", [1], np.int64),
        _constant("masks", [1 << bit for bit in range(8)], np.uint8),
        _constant("empty", 0, np.uint8),
        _constant("bytes_to_bits", [0, 0, 0, -1], np.int64),
        _constant("up", 1, np.int8),
        _constant("down", -1, np.int8),
        node("Unsqueeze", ["weight", "last"], ["bytes"]),
        node("BitwiseAnd", ["bytes", "masks"], ["masked"]),
        node("Equal", ["masked", "empty"], ["unset"]),
        node("Reshape", ["unset", "bytes_to_bits"], ["unset_flat"]),
        node("Unsqueeze", ["channels", "first"], ["end"]),
        node("Slice", ["unset_flat", "first", "end", "last", "one_step"], ["unset_valid"]),
        node("Transpose", ["unset_valid"], ["unset_oihw"], perm=[0, 3, 1, 2]),
        node("Where", ["unset_oihw", "down", "up"], ["signs"]),
    ]


def _convolution() -> list[onnx.NodeProto]:
    node = helper.make_node
    convolution = node("ConvInteger", ["codes", "signs", "zero"], ["sums"])
    kinds = {"group": AttributeProto.INT}
    convolution.attribute.extend(
        _reference(name, name, kinds.get(name, AttributeProto.INTS)) for name in CONV_ATTRIBUTES
    )
    return [
        convolution,
        node("Cast", ["sums"], ["real"], to=onnx.TensorProto.FLOAT),
        node("Mul", ["real", "factor"], ["scaled"]),
        node("Add", ["scaled", "shift"], ["y"]),
    ]


def _reference(source: str, name: str, kind: int) -> onnx.AttributeProto:
    """An attribute of a body node that takes the function call's value."""
    attribute = AttributeProto()
    attribute.name, attribute.ref_attr_name, attribute.type = name, source, kind  # type: ignore[assignment]
    return attribute
