"""Expand: a tensor repeated along its axes of size 1 and new ones, of any type; what a broadcast needs too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import ELEMENT_TYPES, Step
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.moves import dense, like, moved
from hwnas.export.native.operator import Constant, Example, Form, Fusion, Kind
from hwnas.export.native.reader import Reader, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {"Expand": (Form("any", "to a constant shape of at most 6 dimensions"),)}
KINDS = {"expand": Kind(exact=True)}
FUSIONS: tuple[Fusion, ...] = ()
EXAMPLES = (
    Example("Expand", ((1, 1, "D"), Constant(values=np.array([1, 4, 1], np.int64)))),
    Example("Expand", ((1, "C", 1, 1), Constant(values=np.array([2, 1, 1, 3, 2], np.int64)))),
)


def read(reader: Reader, node: NodeProto) -> None:
    """Floats, codes or whole numbers, repeated."""
    tensor = reader.tensor(node, 0)
    wanted = tuple(reader.constant(node, 1, np.int64).reshape(-1).tolist())
    if len(wanted) > 6 or min(wanted, default=1) < 1:
        raise refuse(node, f"a shape {list(wanted)}", ("1 to 6 sizes",))
    shape = tuple(map(int, np.broadcast_shapes(tensor.shape, wanted)))
    source, form = dense(reader, node, 0)
    value = like(source, node.output[0], shape)
    reader.emit("expand", node, (source.name,), value)
    moved(reader, node, value, form)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """A strided copy that does not move along what is repeated."""
    from hwnas.kernels import strided_copy as kernel

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    aligned = (1,) * (len(y.shape) - len(x.shape)) + x.shape
    strides = [0 if size == 1 else math.prod(aligned[axis + 1 :]) for axis, size in enumerate(aligned)]
    spec = kernel.StridedCopy(ELEMENT_TYPES[x.kind], y.shape, tuple(strides), kernel.dense_strides(y.shape))
    return lowering.call(step, kernel, spec, ())
