"""Resize of images to nearest pixels or bilinearly, float32 and 8-bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import ELEMENT_TYPES, Step, Value, image
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Constant, Example, Form, Fusion, Kind, refused
from hwnas.export.native.reader import Reader, Tensor, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "Resize": (
        Form("nearest", "mode nearest, every nearest_mode; codes stay codes"),
        Form("linear", "mode linear over height and width; codes become real numbers, as in ONNX Runtime"),
        Form("places", "half_pixel, pytorch_half_pixel, align_corners and asymmetric, by scales or by sizes"),
        refused("fraction", "align_corners by scales that leave a fraction of a pixel: runtimes disagree"),
        refused("other", "mode cubic, antialias, a region (tf_crop_and_resize), axes other than height and width"),
    )
}
#: its region and scales may be given as empty tensors, which says that they are absent
TAKES_EMPTY = True
KINDS = {"resize": Kind(), "resize_codes": Kind(exact=True)}
_DOUBLE = Constant(values=np.array([1, 1, 2, 2], np.float32))
_REGION = Constant(values=np.zeros(8, np.float32))  # of tf_crop_and_resize alone
EXAMPLES = (
    Example("Resize", ((1, "C", "H", "W"), _REGION, _DOUBLE)),
    Example(
        "Resize",
        ((1, "C", "H", "W"), _REGION, _DOUBLE),
        {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
    ),
)


def read(reader: Reader, node: NodeProto) -> None:
    """Nearest pixels of codes stay codes; everything else is floats."""
    attributes, value = _parts(reader, node)
    tensor = reader.tensor(node, 0)
    given = reader.value(node, 0)
    coded = tensor.form == "dequantised" and attributes["mode"] == "nearest" and given.layout == "nhwc"
    if coded:
        made = Value(value.name, given.kind, value.shape, "nhwc", given.scale, given.zero_point)
        reader.emit("resize_codes", node, (given.name,), made, attributes)
        reader.define(node, value.name, Tensor(made.name, "dequantised", value.shape))
        return
    reader.emit("resize", node, (reader.real(node, 0).name,), value, attributes)
    reader.set_real(node, value, 4)


FUSIONS: tuple[Fusion, ...] = ()


def _parts(reader: Reader, node: NodeProto) -> tuple[dict[str, object], Value]:
    """(the step's attributes, an image like the result)."""
    source = reader.image(node, 0)
    texts = {
        "mode": attribute(node, "mode", b"nearest").decode(),
        "place": attribute(node, "coordinate_transformation_mode", b"half_pixel").decode(),
        "rounding": attribute(node, "nearest_mode", b"round_prefer_floor").decode(),
    }
    if texts["mode"] not in ("nearest", "linear") or attribute(node, "antialias", 0):
        raise refuse(node, f"mode={texts['mode']} antialias={attribute(node, 'antialias', 0)}", ("nearest", "linear"))
    if attribute(node, "keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise refuse(node, "a policy that keeps the aspect ratio", ("stretch",))
    old = (1, source.channels, source.height, source.width)
    sizes, scales = _sizes(reader, node, old)
    if sizes[:2] != old[:2]:
        raise refuse(node, f"a change of batch or channels, from {list(old)} to {list(sizes)}", ("height and width",))
    uneven = any(np.float32(a) * np.float32(b) != c for a, b, c in zip(old[2:], scales, sizes[2:], strict=False))
    if texts["place"] == "align_corners" and uneven:  # ONNX aligns the fraction, ONNX Runtime the whole
        raise refuse(node, f"align_corners by scales {list(scales)} that leave a fraction of a pixel", ("sizes",))
    attributes: dict[str, object] = {**texts, "scales": scales}
    return attributes, image(node.output[0], "f32", sizes[2], sizes[3], source.channels)


def _sizes(reader: Reader, node: NodeProto, old: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """(the result's sizes, the factors of height and width as the model has them; none where it gives sizes)."""
    axes = [axis % 4 for axis in attribute(node, "axes", range(4)) if -4 <= axis < 4]
    found = list(old)
    scales = reader.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if scales is not None and scales.size == len(axes) and np.isfinite(scales).all() and scales.min() > 0:
        for axis, scale in zip(axes, scales.reshape(-1).astype(np.float32), strict=True):
            found[axis] = int(np.floor(np.float32(old[axis]) * scale))
        factors = dict(zip(axes, map(float, scales.reshape(-1)), strict=True))
        return _checked(node, found), (factors.get(2, 1.0), factors.get(3, 1.0))
    sizes = reader.constants.get(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    if sizes is None or sizes.size != len(axes):
        raise refuse(node, "neither constant scales nor constant sizes of its axes", ("scales", "sizes"))
    for axis, size in zip(axes, sizes.reshape(-1).tolist(), strict=True):
        found[axis] = int(size)
    return _checked(node, found), ()


def _checked(node: NodeProto, sizes: list[int]) -> tuple[int, ...]:
    from hwnas.export.native.model_file import MOST_ELEMENTS

    if min(sizes) < 1 or np.prod(sizes, dtype=np.float64) > MOST_ELEMENTS:
        raise refuse(node, f"a result of {sizes}", (f"1 to {MOST_ELEMENTS} elements",))
    return tuple(sizes)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """Tables of neighbours and weights for this pair of sizes."""
    from hwnas.kernels import resize

    x, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    dtype = ELEMENT_TYPES[lowering.value(step.outputs[0]).kind]
    spec = resize.Resize(x, y, step.text("mode"), dtype)
    given = step.attributes["scales"]
    assert isinstance(given, tuple)
    high, wide = given or (None, None)
    rows = resize.positions(x.height, y.height, step.text("place"), high)
    columns = resize.positions(x.width, y.width, step.text("place"), wide)
    packed = resize.pack(spec, lowering.target, rows, columns, step.text("rounding"))
    return lowering.call(step, resize, spec, [table.reshape(-1) for table in packed])
