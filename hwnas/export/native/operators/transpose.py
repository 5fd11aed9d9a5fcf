"""Transpose, and the moves between ONNX's order and images with their channels together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.export.native.ir import ELEMENT_TYPES, Step
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.moves import dense, like, moved
from hwnas.export.native.operator import Example, Form, Fusion, Kind
from hwnas.export.native.reader import Reader, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

    from hwnas.kernels.strided_copy import StridedCopy

ONNX = {"Transpose": (Form("any", "any order of up to 6 dimensions"),)}
#: to_nhwc and to_nchw move floats by vectors; to_image and to_plain move codes, or copy what is plain already
KINDS = {
    "to_nhwc": Kind(exact=True, edge="entry"),
    "to_nchw": Kind(exact=True, edge="exit"),
    "to_image": Kind(exact=True, edge="entry"),
    "to_plain": Kind(exact=True, edge="exit"),
    "transpose": Kind(exact=True),
}
FUSIONS: tuple[Fusion, ...] = ()
EXAMPLES = (
    Example("Transpose", ((1, "T", "D"),), {"perm": [0, 2, 1]}),
    Example("Transpose", ((1, "C", "H", "W"),), {"perm": [0, 2, 3, 1]}),
    Example("Transpose", ((1, "A", "B", "C", "D"),), {"perm": [0, 4, 2, 1, 3]}),
    Example("Transpose", ((1, "B"),)),
)


def read(reader: Reader, node: NodeProto) -> None:
    """Floats or codes in another order; codes stay codes."""
    tensor = reader.tensor(node, 0)
    rank = len(tensor.shape)
    order = tuple(attribute(node, "perm", tuple(reversed(range(rank)))))
    if sorted(order) != list(range(rank)):
        raise refuse(node, f"perm={list(order)} of {rank} dimensions", ("each axis once",))
    source, form = dense(reader, node, 0)
    value = like(source, node.output[0], tuple(tensor.shape[axis] for axis in order))
    reader.emit("transpose", node, (source.name,), value, {"order": order})
    moved(reader, node, value, form)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """Vectors of floats where an image is moved, else element by element."""
    x, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    if step.kind in ("to_nhwc", "to_nchw"):
        from hwnas.kernels import transpose as image_kernel

        moved = image_kernel.Transpose(x, y, step.kind == "to_nchw")
        return lowering.call(step, image_kernel, moved, ())
    from hwnas.kernels import strided_copy as kernel

    spec = _ordered(lowering, step) if step.kind == "transpose" else _moved(lowering, step)
    return lowering.call(step, kernel, spec, ())


def _ordered(lowering: Lowering, step: Step) -> StridedCopy:
    from hwnas.kernels.strided_copy import StridedCopy, dense_strides

    x, y = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    strides = dense_strides(x.shape)
    order = step.integers("order")
    dtype = ELEMENT_TYPES[x.kind]
    return StridedCopy(dtype, y.shape, tuple(strides[axis] for axis in order), dense_strides(y.shape))


def _moved(lowering: Lowering, step: Step) -> StridedCopy:
    """Between an nhwc buffer with its halo and a plain one, walked in the order of the plain one."""
    from hwnas.kernels.strided_copy import StridedCopy, dense_strides

    x, y = (lowering.value(name) for name in (*step.inputs, *step.outputs))
    dtype = ELEMENT_TYPES[x.kind]
    if x.layout == y.layout:
        return StridedCopy(dtype, (x.extent[0] * x.extent[1] * x.extent[2],), (1,), (1,))
    shape = (x.channels, x.height, x.width)
    image = lowering.image(x.name if x.layout == "nhwc" else y.name)
    strides, flat = (1, image.row, image.pixel), dense_strides(shape)
    start, size = image.start, image.size
    if x.layout == "nhwc":
        return StridedCopy(dtype, shape, strides, flat, x_start=start, x_size=size)
    return StridedCopy(dtype, shape, flat, strides, y_start=start, y_size=size)
