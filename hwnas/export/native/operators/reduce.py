"""ReduceMean, ReduceSum, ReduceMax and ReduceMin over any constant axes, in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import Step, plain
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Constant, Example, Form, Fusion, Kind, refused
from hwnas.export.native.reader import Reader, Tensor, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

NAMES = {"ReduceMax": "max", "ReduceMean": "mean", "ReduceMin": "min", "ReduceSum": "sum"}
ONNX = dict.fromkeys(
    NAMES, (Form("axes", "any axes, with or without keepdims"), refused("scalar", "to a tensor without dimensions"))
)
KINDS = {"reduce_f32": Kind()}
FUSIONS: tuple[Fusion, ...] = ()
EXAMPLES = (
    Example("ReduceMean", ((1, "T", "D"), Constant(values=np.array([-1], np.int64)))),
    Example("ReduceMean", ((1, "C", "H", "W"), Constant(values=np.array([2, 3], np.int64))), {"keepdims": 0}),
    Example("ReduceSum", ((1, "A", "B", "C", "D"), Constant(values=np.array([1, 3], np.int64)))),
    Example("ReduceMax", ((1, "T", "D"), Constant(values=np.array([1], np.int64))), {"keepdims": 0}),
    Example("ReduceMin", ((1, "T", "D"),)),
)


def read(reader: Reader, node: NodeProto) -> None:
    """One step over dense floats."""
    shape = reader.tensor(node, 0).shape
    given = reader.optional_constant(node, 1, np.int64)
    axes = [] if given is None else given.reshape(-1).tolist()
    if not axes and attribute(node, "noop_with_empty_axes", 0):
        reader.define(node, node.output[0], reader.tensor(node, 0))
        return
    rank = len(shape)
    gone = sorted(axis % rank for axis in axes if -rank <= axis < rank) if axes else list(range(rank))
    if len(set(gone)) != len(axes or gone):
        raise refuse(node, f"axes {axes} of {rank} dimensions", ("each axis once",))
    kept = tuple(1 if axis in gone else size for axis, size in enumerate(shape))
    result = kept if attribute(node, "keepdims", 1) else tuple(s for axis, s in enumerate(shape) if axis not in gone)
    if not result:
        raise refuse(node, "its result has no dimensions", ("keepdims=1",))
    source = reader.plain(node, 0)
    value = plain(node.output[0], "f32", result)
    attributes: dict[str, object] = {"axes": tuple(gone), "operation": NAMES[node.op_type]}
    reader.emit("reduce_f32", node, (source.name,), value, attributes)
    reader.define(node, value.name, Tensor(value.name, "real", result))


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """One kernel for all four."""
    from hwnas.kernels import fp32_reduce

    shape = lowering.value(step.inputs[0]).shape
    spec = fp32_reduce.Fp32Reduce(shape, step.integers("axes"), step.text("operation"))
    return lowering.call(step, fp32_reduce, spec, ())
