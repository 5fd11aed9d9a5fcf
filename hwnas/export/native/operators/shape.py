"""Shape: every size is known, so it is a constant; ONNX's version converter inserts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.operator import Example, Form, Fusion, Kind
from hwnas.export.native.reader import Reader, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX: dict[str, tuple[Form, ...]] = {"Shape": ()}
KINDS: dict[str, Kind] = {}
FUSIONS: tuple[Fusion, ...] = ()
EXAMPLES: tuple[Example, ...] = ()  # a model of constants alone is refused


def read(reader: Reader, node: NodeProto) -> None:
    """The sizes from `start` to `end`."""
    name = node.input[0]
    sizes = reader.constants[name].shape if name in reader.constants else reader.tensor(node, 0).shape
    start, end = int(attribute(node, "start", 0)), attribute(node, "end", None)
    reader.keep(node, np.array(sizes[start:end], np.int64))
