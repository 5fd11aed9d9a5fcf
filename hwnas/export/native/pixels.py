"""hwnas::Preprocess and hwnas::Normalize: the nodes that read a model's raw uint8 input [1, H, W, C]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.reader import refuse

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
