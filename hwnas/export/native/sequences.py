"""Windows over a sequence [1, C, L]: read as an image of one row, [1, C, 1, L]."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hwnas.export.native.reader import Reader, Tensor, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

#: attributes of a window with one number an axis, and what the row's axis has
_PER_AXIS = {"kernel_shape": 1, "strides": 1, "dilations": 1}


def as_image(reader: Reader, node: NodeProto) -> NodeProto:
    """The node with a row's axis in its input, its weight and its attributes; the node itself over anything but a
    sequence. Its output needs no care: a Reader takes [1, C, 1, L] for [1, C, L] where the model says so."""
    from onnx import NodeProto, helper

    tensor = reader.tensor(node, 0)
    if len(tensor.shape) != 3:
        return node
    if tensor.shape[0] != 1:
        raise refuse(node, f"its input 0 has shape {list(tensor.shape)}", ("[1, C, L]",))
    wide = NodeProto()
    wide.CopyFrom(node)
    wide.input[0] = _widened(reader, node, tensor)
    if len(node.input) > 1:
        wide.input[1] = _weight(reader, node)
    del wide.attribute[:]
    for item in node.attribute:
        value = helper.get_attribute_value(item)
        if item.name in _PER_AXIS:
            item = helper.make_attribute(item.name, [_PER_AXIS[item.name], *value])
        elif item.name == "pads":
            half = len(value) // 2
            item = helper.make_attribute("pads", [0, *value[:half], 0, *value[half:]])
        wide.attribute.append(item)
    return wide


def _widened(reader: Reader, node: NodeProto, tensor: Tensor) -> str:
    """The name of input 0 seen as an image."""
    name, value = f"{node.input[0]}:row", reader.values[tensor.value]
    shape = (1, tensor.shape[1], 1, tensor.shape[2])
    if value.shape != shape or value.layout != "nhwc":
        if tensor.form == "dequantised":
            value = reader.image_codes(node, reader.seen_as(reader.plain_codes(node, 0), shape))
        else:
            value = reader.seen_as(reader.plain(node, 0), shape)
    reader.see(node, name, Tensor(value.name, tensor.form, shape))
    return name


def _weight(reader: Reader, node: NodeProto) -> str:
    """The name of the weight [O, C, K] seen as [O, C, 1, K]."""
    name = f"{node.input[1]}:row"
    held = reader.quantised_constants.get(node.input[1])
    if held is not None and held.integers.ndim == 3:
        axis = 3 if held.axis == 2 else held.axis
        reader.quantised_constants[name] = replace(held, integers=held.integers[:, :, None], axis=axis)
    elif held is None:
        weight = reader.constant(node, 1)
        if weight.ndim == 3:
            reader.constants[name] = weight[:, :, None]
    return name if reader.is_constant(name) else node.input[1]
