"""hwnas::Preprocess and hwnas::Normalize: the nodes that read a model's raw uint8 input [1, H, W, C]."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.ir import Step, Value
from hwnas.export.native.model_file import MOST_ELEMENTS
from hwnas.export.native.reader import Reader, Tensor, label, refuse

if TYPE_CHECKING:
    from onnx import NodeProto, ValueInfoProto

#: operator -> how many constants it takes after the pixels
CONSTANTS = {"Preprocess": 6, "Normalize": 2}


def entry(given: ValueInfoProto, nodes: Sequence[NodeProto]) -> NodeProto | None:
    """The node that reads a uint8 input; None where the input is of another type. HwnasError unless it is the only
    reader, and one of these operators."""
    from onnx import TensorProto

    if given.type.tensor_type.elem_type != TensorProto.UINT8:
        return None
    readers = [node for node in nodes if given.name in node.input]
    if len(readers) != 1 or readers[0].op_type not in CONSTANTS or readers[0].domain != "hwnas":
        raise HwnasError(
            f"input {given.name!r} is uint8 and not read by one hwnas::Preprocess",
            nearest=("float32 [1, C, H, W]",),
            hint="raw pixels enter a model through hwnas::Preprocess or hwnas::Normalize alone",
        )
    return readers[0]


def pixel_shape(given: ValueInfoProto) -> tuple[int, ...]:
    """[1, H, W, C] of a uint8 input."""
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in given.type.tensor_type.shape.dim)
    if len(shape) != 4 or min(shape) < 1 or shape[0] != 1 or math.prod(shape) > MOST_ELEMENTS:
        raise HwnasError(f"input {given.name!r} has shape {list(shape)}", nearest=("uint8 [1, H, W, C]",))
    return shape


def output_shape(node: NodeProto, shape: tuple[int, ...], constants: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """[1, C, h, w] that the node makes of pixels [1, H, W, C]: one row and one column a tap list."""
    _, height, width, channels = shape
    if node.op_type == "Preprocess":
        taps = [constants.get(node.input[index]) if len(node.input) > index else None for index in (1, 3)]
        if any(array is None or array.ndim != 1 for array in taps):
            raise refuse(node, "its taps must be constants of one dimension", ("[n] and [n, taps]",))
        height, width = (len(array) for array in taps if array is not None)
    return (1, channels, height, width)


def preprocess(reader: Reader, node: NodeProto) -> None:
    """One step from the model's input to a float32 NHWC image; where it resizes, with a line of scratch memory."""
    source = reader.value(node, 0)
    if reader.tensor(node, 0).form != "pixels" or len(node.input) != 1 + CONSTANTS[node.op_type]:
        raise refuse(node, "its first input must be the model's own uint8 input, the others constants", ())
    resizes = len(node.input) == 1 + CONSTANTS["Preprocess"]
    kinds: tuple[type, ...] = (np.int64, np.int32) * 2 if resizes else ()  # taps are counted, their weights fixed point
    given = [reader.constant(node, i + 1, kind) for i, kind in enumerate((*kinds, np.float32, np.float32))]
    mean, factor = (np.asarray(end, np.float32).reshape(-1) for end in given[-2:])
    if mean.size != source.channels or factor.size != source.channels:
        raise refuse(node, f"{mean.size} means and {factor.size} factors of {source.channels} channels", ())
    if not np.isfinite([mean, factor]).all():
        raise refuse(node, "means or factors that are not finite", ("finite numbers",))
    constants = {"mean": mean, "factor": factor}
    height, width, outputs = source.height, source.width, [node.output[0]]
    if resizes:
        for name, array in zip(("rows", "columns"), (given[:2], given[2:4]), strict=True):
            first, weights = array
            if first.ndim != 1 or weights.ndim != 2 or len(weights) != len(first) or 0 in weights.shape:
                raise refuse(node, f"taps {list(first.shape)} and {list(weights.shape)}", ("[n] and [n, taps]",))
            constants |= {f"{name}_first": first, f"{name}_weights": weights}
        height, width = len(given[0]), len(given[2])
        line = reader.add_value(Value(f"{node.output[0]}:line", "i32", 1, 1, source.width * source.channels))
        outputs.append(line.name)
    value = reader.add_value(Value(node.output[0], "f32", height, width, source.channels))
    reader.steps.append(Step("preprocess", label(node), (source.name,), tuple(outputs), {}, constants))
    reader.tensors[node.output[0]] = Tensor(value.name, "real", (1, value.channels, height, width))
