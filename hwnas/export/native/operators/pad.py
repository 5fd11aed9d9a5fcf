"""Pad: a constant, the edge or a reflection around a tensor of any rank, of floats or codes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.activations import integer_range
from hwnas.export.native.ir import ELEMENT_TYPES, Step, Value
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.moves import dense, like, moved
from hwnas.export.native.operator import Constant, Example, Form, Fusion, Kind, refused
from hwnas.export.native.reader import Reader, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "Pad": (
        Form("constant", "mode constant, constant widths of at least 0; of codes where the value is one of them"),
        Form("gathered", "modes edge, reflect and wrap"),
        refused("crop", "negative widths, widths that are computed"),
    )
}
KINDS = {"pad": Kind(exact=True)}
FUSIONS: tuple[Fusion, ...] = ()
_WIDTHS = Constant(values=np.array([0, 0, 1, 2, 0, 1, 0, 3], np.int64))
EXAMPLES = (
    Example("Pad", ((1, "C", "H", "W"), _WIDTHS)),
    Example("Pad", ((1, "C", "H", "W"), _WIDTHS, Constant(values=np.array(-1.5, np.float32)))),
    Example("Pad", ((1, "C", 4, 5), _WIDTHS), {"mode": "reflect"}),
    Example("Pad", ((1, "T", "D"), Constant(values=np.array([0, 2, 0, 0, 1, 3], np.int64))), {"mode": "edge"}),
)


def read(reader: Reader, node: NodeProto) -> None:
    """One step of a constant, else one a padded axis that takes elements from within."""
    shape, mode = reader.tensor(node, 0).shape, attribute(node, "mode", b"constant").decode()
    before, after = _widths(reader, node, len(shape))
    if mode != "constant":
        _gathered(reader, node, mode, before, after)
        return
    fill, source, form = _filled(reader, node)
    sizes = zip(shape, before, after, strict=True)
    value = like(source, node.output[0], tuple(size + low + high for size, low, high in sizes))
    attributes: dict[str, object] = {"before": tuple(before), "after": tuple(after), "fill": fill}
    reader.emit("pad", node, (source.name,), value, attributes)
    moved(reader, node, value, form)


def _widths(reader: Reader, node: NodeProto, rank: int) -> tuple[list[int], list[int]]:
    """Of every axis."""
    pads = reader.constant(node, 1, np.int64).reshape(-1).tolist()
    named = reader.optional_constant(node, 3, np.int64)
    axes = list(range(rank)) if named is None else named.reshape(-1).tolist()
    if any(not -rank <= axis < rank for axis in axes) or len({axis % rank for axis in axes}) != len(axes):
        raise refuse(node, f"axes {axes} of {rank} dimensions", ("each axis once",))
    if len(pads) != 2 * len(axes) or min(pads, default=0) < 0:
        raise refuse(node, f"pads {pads}", (f"{2 * len(axes)} widths of at least 0",))
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[len(axes) + place]
    return before, after


def _filled(reader: Reader, node: NodeProto) -> tuple[float, Value, str]:
    """(the constant around the tensor, the tensor, its form): codes where the constant is one of them."""
    form = reader.tensor(node, 0).form
    dtype = np.int64 if form == "whole" else np.float32
    given = reader.optional_constant(node, 2, dtype) if len(node.input) > 2 else None
    if given is not None and given.size != 1:
        raise refuse(node, f"a value of shape {list(given.shape)}", ("one number",))
    fill = 0.0 if given is None else float(given.reshape(()))
    if given is not None and form == "whole" and int(fill) != int(given.reshape(())):
        raise refuse(node, f"a value of {int(given.reshape(()))}, which float64 does not tell from {fill:.0f}", ("0",))
    if form == "integer" or not math.isfinite(fill):
        raise refuse(node, "codes that no DequantizeLinear reads before it, or a value that is no number", ("0",))
    if form == "dequantised":
        codes, _ = dense(reader, node, 0)
        low, high = integer_range(codes.kind)
        code = round(fill / codes.scale) + codes.zero_point
        if low <= code <= high and np.float32(code - codes.zero_point) * np.float32(codes.scale) == np.float32(fill):
            return float(code), codes, form
        return fill, reader.plain(node, 0), "real"
    return fill, *dense(reader, node, 0)


def _gathered(reader: Reader, node: NodeProto, mode: str, before: list[int], after: list[int]) -> None:
    source, form = dense(reader, node, 0)
    padded = [axis for axis in range(len(before)) if before[axis] or after[axis]] or [0]
    for axis in padded:
        size, shape = source.shape[axis], source.shape
        if mode not in ("edge", "reflect", "wrap") or (mode == "reflect" and max(before[axis], after[axis]) >= size):
            raise refuse(node, f"mode={mode} of widths {before} and {after}", ("constant", "edge", "reflect", "wrap"))
        how = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}[mode]
        places = np.pad(np.arange(size), (before[axis], after[axis]), mode=how)  # type: ignore[call-overload]
        name = node.output[0] if axis == padded[-1] else f"{node.output[0]}:axis{axis}"
        value = like(source, name, (*shape[:axis], len(places), *shape[axis + 1 :]))
        attributes: dict[str, object] = {
            "outer": math.prod(shape[:axis]),
            "rows": size,
            "width": math.prod(shape[axis + 1 :]),
            "count": len(places),
            "ids": "int64",
        }
        reader.emit("gather", node, (source.name,), value, attributes, {"ids": places.astype(np.int64)})
        source = value
    moved(reader, node, source, form)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """The constant first, then the tensor into its middle."""
    from hwnas.kernels import rearrange

    x = lowering.value(step.inputs[0])
    fill = step.attributes["fill"]
    assert isinstance(fill, float)
    spec = rearrange.padding(x.shape, step.integers("before"), step.integers("after"), fill, ELEMENT_TYPES[x.kind])
    return lowering.call(step, rearrange, spec, ())
