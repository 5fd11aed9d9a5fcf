"""A neighbour before a block, so that ONNX Runtime treats its input as it does inside a network.

For float32 convolutions ONNX Runtime changes to a layout of its own (NCHWc). A block alone pays for changing into it
and back, and its residual, which arrives in plain NCHW, is not fused into a convolution. Behind a 1x1 max pool, which
also runs in that layout, it is as in a network: latency(pool, block) - latency(pool) is the block, plus the change back
at its output, less the one at its input. Over the blocks of a network these two cancel, each against its neighbour's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

# The image that enters a network has no neighbour: it arrives in NCHW. No stem is as narrow as an image.
MOST_IMAGE_CHANNELS = 4


def float_shape(model: ModelProto) -> tuple[int, ...] | None:
    """The input's shape where it is a float32 NCHW tensor inside a network, else None: it has no neighbour."""
    from onnx import TensorProto

    kind = model.graph.input[0].type.tensor_type
    shape = tuple(axis.dim_value for axis in kind.shape.dim)
    inside = kind.elem_type == TensorProto.FLOAT and len(shape) == 4 and shape[1] > MOST_IMAGE_CHANNELS
    return shape if inside else None


def behind_a_pool(model: ModelProto) -> ModelProto:
    """`model` with the pool between its input and everything that reads it."""
    from onnx import ModelProto as Proto

    edited = Proto()
    edited.CopyFrom(model)
    name = edited.graph.input[0].name
    for node in edited.graph.node:
        node.input[:] = ["neighbour" if text == name else text for text in node.input]
    edited.graph.node.insert(0, _pool(name, "neighbour"))
    return edited


def pool_alone(shape: tuple[int, ...]) -> ModelProto:
    """The pool by itself, over a float32 tensor of this shape."""
    from onnx import TensorProto, helper

    ends: list[ValueInfoProto] = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name in ("input", "output")
    ]
    graph = helper.make_graph([_pool("input", "output")], "neighbour", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _pool(given: str, result: str) -> NodeProto:
    from onnx import helper

    return helper.make_node("MaxPool", [given], [result], kernel_shape=[1, 1])
