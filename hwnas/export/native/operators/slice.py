"""Slice and Split: a part of a tensor, of floats, codes or whole numbers, by constant bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import ELEMENT_TYPES, Step
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.moves import dense, like, moved
from hwnas.export.native.operator import Constant, Example, Form, Fusion, Kind, refused
from hwnas.export.native.reader import Reader, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "Slice": (
        Form("bounds", "constant starts, ends, axes and steps, negative ones too"),
        refused("computed", "bounds that are computed, or that leave nothing"),
    ),
    "Split": (Form("sizes", "along any axis, into constant sizes or a number of parts"),),
}
KINDS = {"slice": Kind(exact=True)}
FUSIONS: tuple[Fusion, ...] = ()


def _bounds(*values: int) -> Constant:
    return Constant(values=np.array(values, np.int64))


EXAMPLES = (
    Example("Slice", ((1, 4, "D"), _bounds(1), _bounds(3), _bounds(1))),
    Example("Slice", ((1, "C", 5, 6), _bounds(-1, 0), _bounds(-9, 9), _bounds(2, 3), _bounds(-2, 3))),
    Example("Split", ((1, "T", 6), _bounds(1, 2, 3)), {"axis": -1}, outputs=3),
)


def read(reader: Reader, node: NodeProto) -> None:
    """One step a part."""
    if node.op_type == "Split":
        _split(reader, node)
        return
    if reader.is_constant(node.input[0]):
        table = reader.constants.get(node.input[0])
        if table is None:
            raise refuse(node, "a part of a quantised constant", ("store the part itself",))
        starts, steps, counts = _sliced(reader, node, table.shape)
        for axis, (start, step, count) in enumerate(zip(starts, steps, counts, strict=True)):
            table = np.take(table, [start + i * step for i in range(count)], axis=axis)
        reader.keep(node, table)
        return
    _part(reader, node, node.output[0], *_sliced(reader, node, reader.tensor(node, 0).shape))


def _part(
    reader: Reader, node: NodeProto, name: str, starts: list[int], steps: list[int], counts: tuple[int, ...]
) -> None:
    """The output `name`: `counts` elements of every axis, from `starts` on."""
    source, form = dense(reader, node, 0)
    value = like(source, name, counts)
    attributes: dict[str, object] = {"starts": tuple(starts), "steps": tuple(steps)}
    reader.emit("slice", node, (source.name,), value, attributes)
    moved(reader, node, value, form)


def _sliced(reader: Reader, node: NodeProto, shape: tuple[int, ...]) -> tuple[list[int], list[int], tuple[int, ...]]:
    """(starts, steps and counts of all axes), as ONNX clamps them."""
    rank, given = len(shape), [_whole(reader, node, index) for index in range(1, 5)]
    first, last, axes, strides = given
    if first is None or last is None:
        raise refuse(node, "it has no starts or no ends", ("constant starts and ends",))
    axes = axes or list(range(len(first)))
    strides = strides or [1] * len(first)
    if not len(first) == len(last) == len(axes) == len(strides) or any(not -rank <= axis < rank for axis in axes):
        raise refuse(node, f"starts {first}, ends {last}, axes {axes} of {rank} dimensions", ("one of each an axis",))
    starts, steps, counts = [0] * rank, [1] * rank, [*shape]
    if len({axis % rank for axis in axes}) != len(axes) or 0 in strides:
        raise refuse(node, f"axes {axes}, steps {strides}", ("each axis once, no step of 0",))
    for axis, start, end, step in zip(axes, first, last, strides, strict=True):
        if step < 0:  # ONNX begins such a part at the first element where Python, of a start so low, takes none
            start = max(start, -shape[axis])
        taken = range(shape[axis])[start:end:step]
        if not len(taken):
            raise refuse(node, f"nothing is left of axis {axis}", ("at least 1 element",))
        starts[axis], steps[axis], counts[axis] = taken[0], step, len(taken)
    return starts, steps, tuple(counts)


def _whole(reader: Reader, node: NodeProto, index: int) -> list[int] | None:
    """The constant whole numbers of an input; None where it is absent."""
    if len(node.input) <= index or not node.input[index]:
        return None
    found = reader.constants.get(node.input[index])
    if found is None or found.dtype not in (np.int32, np.int64):
        raise refuse(node, f"its input {index} ({node.input[index]}) must be constant whole numbers", ("int64",))
    return [int(value) for value in found.reshape(-1)]


def _split(reader: Reader, node: NodeProto) -> None:
    """Parts one after the other along the axis."""
    shape, count = reader.tensor(node, 0).shape, len(node.output)
    axis, sizes = int(attribute(node, "axis", 0)), _whole(reader, node, 1)
    if not -len(shape) <= axis < len(shape):
        raise refuse(node, f"axis={axis} of {len(shape)} dimensions", ("axis=0",))
    axis %= len(shape)
    if sizes is None:
        size = -(-shape[axis] // int(attribute(node, "num_outputs", count)))
        sizes = [min(size, shape[axis] - i * size) for i in range(count)]
    if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise refuse(node, f"parts {sizes} of {shape[axis]}", (f"{count} sizes of at least 1",))
    done = 0
    for name, size in zip(node.output, sizes, strict=True):
        starts = [done if i == axis else 0 for i in range(len(shape))]
        done += size
        if name:
            _part(reader, node, name, starts, [1] * len(shape), (*shape[:axis], size, *shape[axis + 1 :]))


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """One strided copy."""
    from hwnas.kernels import rearrange

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    dtype = ELEMENT_TYPES[x.kind]
    spec = rearrange.section(x.shape, step.integers("starts"), step.integers("steps"), y.shape, dtype)
    return lowering.call(step, rearrange, spec, ())
