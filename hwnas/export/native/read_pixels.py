"""hwnas::Preprocess and hwnas::Normalize: the nodes that read a model's raw uint8 input [1, H, W, C]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.ir import Step, Value
from hwnas.export.native.reader import Reader, Tensor, label, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

#: operator -> how many constants it takes after the pixels
CONSTANTS = {"Preprocess": 6, "Normalize": 2}


def pixel_input(name: str, shape: tuple[int, ...], consumers: list[NodeProto]) -> Value:
    """The value of a uint8 input. HwnasError unless it is an image that one of these operators alone reads."""
    if len(shape) != 4 or min(shape) < 1 or shape[0] != 1:
        raise HwnasError(f"input {name!r} has shape {list(shape)}", nearest=("uint8 [1, H, W, C]",))
    if len(consumers) != 1 or consumers[0].op_type not in CONSTANTS or consumers[0].domain != "hwnas":
        raise HwnasError(
            f"input {name!r} is uint8 and not read by one hwnas::Preprocess",
            nearest=("float32 [1, C, H, W]",),
            hint="raw pixels enter a model through hwnas::Preprocess or hwnas::Normalize alone",
        )
    return Value(name, "u8", *shape[1:])


def preprocess(reader: Reader, node: NodeProto) -> None:
    """One step from the model's input to a float32 NHWC image; where it resizes, with a line of scratch memory."""
    source = reader.value(node, 0)
    if reader.tensor(node, 0).form != "pixels" or len(node.input) != 1 + CONSTANTS[node.op_type]:
        raise refuse(node, "its first input must be the model's own uint8 input, the others constants", ())
    given = [reader.constant(node, index) for index in range(1, len(node.input))]
    mean, factor = (np.asarray(end, np.float32).reshape(-1) for end in given[-2:])
    if mean.size != source.channels or factor.size != source.channels:
        raise refuse(node, f"{mean.size} means and {factor.size} factors of {source.channels} channels", ())
    constants = {"mean": mean, "factor": factor}
    height, width, outputs = source.height, source.width, [node.output[0]]
    if len(given) == CONSTANTS["Preprocess"]:
        for name, array in zip(("rows", "columns"), (given[:2], given[2:4]), strict=True):
            first, weights = array
            if first.ndim != 1 or weights.ndim != 2 or len(weights) != len(first) or 0 in weights.shape:
                raise refuse(node, f"taps {list(first.shape)} and {list(weights.shape)}", ("[n] and [n, taps]",))
            constants |= {f"{name}_first": first, f"{name}_weights": weights}
        height, width = len(given[0]), len(given[2])
        line = reader.add_value(Value(f"{node.output[0]}:line", "f32", 1, 1, source.width * source.channels))
        outputs.append(line.name)
    value = reader.add_value(Value(node.output[0], "f32", height, width, source.channels))
    reader.steps.append(Step("preprocess", label(node), (source.name,), tuple(outputs), {}, constants))
    reader.tensors[node.output[0]] = Tensor(value.name, "real")
