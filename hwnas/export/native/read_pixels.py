"""hwnas::Preprocess and hwnas::Normalize: the nodes that read a model's raw uint8 input [1, H, W, C]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.ir import Step, Value
from hwnas.export.native.reader import Reader, Tensor, label, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

#: operator -> how many constants it takes after the pixels
CONSTANTS = {"Preprocess": 6, "Normalize": 2}
TAPS = ("rows_first", "rows_weights", "columns_first", "columns_weights")


def result_shape(
    node: NodeProto, name: str, shape: tuple[int, ...], nodes: Sequence[NodeProto], constants: Mapping[str, np.ndarray]
) -> tuple[int, ...]:
    """[1, C, h, w] of what `node` makes of the input `name`; HwnasError unless it alone reads pixels."""
    alone = [other for other in nodes if name in other.input or other.op_type in CONSTANTS] == [node]
    if not alone or list(node.input).count(name) != 1 or node.input[0] != name:
        raise refuse(node, f"the pixels {name!r} must be its first input, and nothing else may read them")
    if len(node.input) != 1 + CONSTANTS[node.op_type]:
        raise refuse(node, f"it has {len(node.input) - 1} constants", (str(CONSTANTS[node.op_type]),))
    size = list(shape[1:3])
    if node.op_type == "Preprocess":
        firsts = [constants.get(node.input[index]) for index in (1, 3)]
        if any(first is None or first.ndim != 1 for first in firsts):
            raise refuse(node, "the places of its taps must be constants", ("int64 [n]",))
        size = [len(first) for first in firsts if first is not None]
    return (1, shape[3], *size)


def unread(name: str) -> HwnasError:
    """The error of a uint8 input that enters a model in another way."""
    return HwnasError(
        f"input {name!r} is uint8 and not read by one hwnas::Preprocess",
        nearest=("float32 [1, C, H, W]",),
        hint="raw pixels [1, H, W, C] enter a model through hwnas::Preprocess or hwnas::Normalize alone",
    )


def preprocess(reader: Reader, node: NodeProto) -> None:
    """One step from the model's input to a float32 NHWC image; where it resizes, with a line of scratch memory."""
    source = reader.value(node, 0)
    if reader.tensor(node, 0).form != "pixels":
        raise refuse(node, "its first input must be the model's own uint8 input")
    count = CONSTANTS[node.op_type]
    constants = {name: reader.constant(node, count - 1 + i) for i, name in enumerate(("mean", "factor"))}
    for name, values in constants.items():
        if values.shape != (source.channels,) or not np.isfinite(values).all():
            raise refuse(node, f"its {name} of shape {list(values.shape)}", (f"[{source.channels}] finite numbers",))
    outputs, (height, width) = [node.output[0]], (source.height, source.width)
    if node.op_type == "Preprocess":
        constants |= {name: reader.constant(node, 1 + i, (np.int64, np.int32)[i % 2]) for i, name in enumerate(TAPS)}
        if any(constants[name].ndim != 1 + i % 2 for i, name in enumerate(TAPS)):
            raise refuse(node, "taps of another rank", ("places [n] and weights [n, taps]",))
        height, width = len(constants["rows_first"]), len(constants["columns_first"])
        line = Value(f"{node.output[0]}:line", "i32", 1, 1, source.width * source.channels)
        outputs.append(reader.add_value(line).name)
    value = reader.add_value(Value(node.output[0], "f32", height, width, source.channels))
    reader.steps.append(Step("preprocess", label(node), (source.name,), tuple(outputs), {}, constants))
    reader.set_real(node, value, 4)


def start(reader: Reader, name: str, shape: tuple[int, ...]) -> None:
    """Makes the model's input known as raw pixels."""
    _, height, width, channels = shape
    reader.add_value(Value(name, "u8", height, width, channels))
    reader.tensors[name] = Tensor(name, "pixels", shape)
