"""Flatten, Reshape, Squeeze, Unsqueeze, Identity and Dropout: the same numbers under another shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.moves import dense
from hwnas.export.native.operator import Constant, Example, Form, Fusion, Kind
from hwnas.export.native.reader import Reader, Tensor, attribute, refuse, shape_of

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "Dropout": (Form("inference", "training_mode absent or false, the mask unused", "view"),),
    "Flatten": (Form("batch", "to [1, C * H * W]", "view"), Form("axis", "to any other shape")),
    "Identity": (Form("any", "of anything", "view"),),
    "Reshape": (
        Form("flatten", "to [1, -1], of an image or a vector, and back to the image's own shape", "view"),
        Form("other", "to any other shape of 1 to 6 dimensions"),
    ),
    "Squeeze": (Form("vector", "[1, C, 1, 1] to [1, C]", "view"), Form("other", "to any other shape")),
    "Unsqueeze": (Form("any", "to at most 6 dimensions"),),
}
KINDS: dict[str, Kind] = {}
FUSIONS: tuple[Fusion, ...] = ()
EXAMPLES = (
    Example("Reshape", ((1, 6, "H", "W"), Constant(values=np.array([3, -1, 2], np.int64)))),
    Example("Reshape", ((1, 4, "D"), Constant(values=np.array([1, 2, 2, -1], np.int64)))),
    Example("Flatten", ((1, "C", "H", "W"),), {"axis": 2}),
    Example("Unsqueeze", ((1, "C", "H", "W"), Constant(values=np.array([1], np.int64)))),
    Example("Squeeze", ((1, "C", 1, "W"), Constant(values=np.array([2], np.int64)))),
)
MOST_DIMENSIONS = 6


def read(reader: Reader, node: NodeProto) -> None:
    """A view where the numbers lie in ONNX's order, or where only the batch and one other size are left of an image;
    else in ONNX's order first."""
    if reader.is_constant(node.input[0]):
        _constant(reader, node)
        return
    tensor, value = reader.tensor(node, 0), reader.value(node, 0)
    shape = _new_shape(reader, node, tensor.shape)
    if shape in (shape_of(value, 2), shape_of(value, 4)) and (value.is_image or value.is_vector):
        reader.define(node, node.output[0], Tensor(tensor.value, tensor.form, shape))
        return
    if not 1 <= len(shape) <= MOST_DIMENSIONS:
        change = f"a change of shape from {list(tensor.shape)} to {list(shape)}"
        raise refuse(node, change, (f"1 to {MOST_DIMENSIONS} dimensions",))
    if shape == tensor.shape:
        reader.define(node, node.output[0], tensor)
        return
    made, form = dense(reader, node, 0)
    seen = reader.seen_as(made, shape)
    if seen.is_image and form in ("dequantised", "integer"):
        seen = reader.image_codes(node, seen)
    reader.define(node, node.output[0], Tensor(seen.name, form, shape))


def _constant(reader: Reader, node: NodeProto) -> None:
    """A constant stays one under another name (Identity), or under another shape."""
    name = node.input[0]
    if node.op_type in ("Identity", "Dropout"):
        for known in (reader.constants, reader.quantised_constants):
            if name in known:
                known[node.output[0]] = known[name]  # type: ignore[index, assignment]
        return
    held = reader.constants.get(name)
    if held is None:
        raise refuse(node, "a change of shape of a quantised constant", ("store it in its last shape",))
    reader.keep(node, held.reshape(_new_shape(reader, node, held.shape)))


def _new_shape(reader: Reader, node: NodeProto, shape: tuple[int, ...]) -> tuple[int, ...]:
    if node.op_type == "Dropout":
        training = reader.optional_constant(node, 2, np.bool_)
        if training is not None and training.any():
            raise refuse(node, "training_mode=true", ("training_mode=false",))
        return shape
    if node.op_type == "Flatten":
        axis = int(attribute(node, "axis", 1))
        if not -len(shape) <= axis <= len(shape):
            raise refuse(node, f"axis={axis} of {len(shape)} dimensions", ("axis=1",))
        axis += len(shape) if axis < 0 else 0
        return (int(np.prod(shape[:axis])), int(np.prod(shape[axis:])))
    if node.op_type == "Squeeze":
        axes = reader.optional_constant(node, 1, np.int64)
        chosen = [i for i, size in enumerate(shape) if size == 1] if axes is None else axes.reshape(-1).tolist()
        if any(not -len(shape) <= axis < len(shape) or shape[axis] != 1 for axis in chosen):
            raise refuse(node, f"axes {chosen} of {list(shape)}", ("axes of size 1",))
        gone = {axis % len(shape) for axis in chosen}
        return tuple(size for i, size in enumerate(shape) if i not in gone)
    if node.op_type == "Unsqueeze":
        return _with_ones(node, shape, reader.constant(node, 1, np.int64).reshape(-1).tolist())
    if node.op_type == "Reshape":
        return _reshaped(node, shape, reader.constant(node, 1, np.int64).reshape(-1).tolist())
    return shape


def _with_ones(node: NodeProto, shape: tuple[int, ...], axes: list[int]) -> tuple[int, ...]:
    rank = len(shape) + len(axes)
    places = {axis % rank for axis in axes if -rank <= axis < rank}
    if len(places) != len(axes):
        raise refuse(node, f"axes {axes} of {rank} dimensions", ("each axis once",))
    sizes = iter(shape)
    return tuple(1 if i in places else next(sizes) for i in range(rank))


def _reshaped(node: NodeProto, shape: tuple[int, ...], wanted: list[int]) -> tuple[int, ...]:
    """ONNX's Reshape: 0 keeps a size (unless allowzero), one -1 is what is left."""
    kept = not attribute(node, "allowzero", 0)
    sizes = [shape[i] if size == 0 and kept and i < len(shape) else size for i, size in enumerate(wanted)]
    total, rest = int(np.prod(shape)), int(np.prod([size for size in sizes if size != -1], dtype=np.float64))
    if sizes.count(-1) == 1 and rest > 0:
        sizes[sizes.index(-1)] = total // rest
    if min(sizes, default=1) < 1 or int(np.prod(sizes, dtype=np.float64)) != total:
        raise refuse(node, f"a Reshape of {list(shape)} to {wanted}", ("[1, -1]",))
    return tuple(sizes)
