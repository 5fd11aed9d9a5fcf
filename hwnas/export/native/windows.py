"""Sliding windows of Conv and the pools: ONNX's attributes, checked, with automatic padding made explicit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hwnas.export.native.ir import Value, image
from hwnas.export.native.model_file import MOST_ELEMENTS
from hwnas.export.native.operator import Form, IntegerFusion, refused
from hwnas.export.native.quantisation import NOT_QUANTISED, emit_quantised, target_of
from hwnas.export.native.reader import Reader, attribute, refuse
from hwnas.export.native.sequences import as_image

if TYPE_CHECKING:
    from onnx import NodeProto

#: a kernel's code is specialised for its window and unrolls parts of it; a global pool of 256 x 256 still fits
MOST_TAPS = 2**16

#: what every window may be
FORMS = (
    Form("window", "kernel, strides, pads and dilations of any size; auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER"),
    refused("ceil_mode", "ceil_mode=1 where it changes the output's size"),
)


def window(node: NodeProto, kernel: tuple[int, ...], value: Value) -> tuple[dict[str, object], int, int]:
    """(a window's attributes with pads as top, left, bottom, right; output height; output width).

    `kernel` is its size (height, width); an attribute kernel_shape must say so too. Pools have `count_include_pad` too.
    """
    stated = attribute(node, "kernel_shape", kernel)
    strides, dilations = attribute(node, "strides", (1, 1)), attribute(node, "dilations", (1, 1))
    if not len(kernel) == len(strides) == len(dilations) == 2:
        raise refuse(node, f"a window of {len(kernel)} dimensions", ("2 dimensions",))
    if tuple(stated) != tuple(kernel):
        raise refuse(node, f"kernel_shape={list(stated)} with a weight of {list(kernel)}")
    if min(*kernel, *strides, *dilations) < 1 or kernel[0] * kernel[1] > MOST_TAPS:
        raise refuse(node, f"a window of {list(kernel)} by strides {list(strides)}, dilations {list(dilations)}")
    extent = [dilations[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
    pads = _pads(node, (value.height, value.width), extent, strides)
    room = [size + pads[i] + pads[i + 2] - extent[i] for i, size in enumerate((value.height, value.width))]
    if min(room) < 0:
        raise refuse(node, f"window {tuple(kernel)} does not fit in {value.height} x {value.width}")
    if (room[0] + extent[0]) * (room[1] + extent[1]) * value.channels > MOST_ELEMENTS:
        raise refuse(node, f"padding {list(pads)} of {value.height} x {value.width} x {value.channels}")
    if attribute(node, "ceil_mode", 0) and any(left % stride for left, stride in zip(room, strides, strict=True)):
        raise refuse(node, "ceil_mode=1 where it makes another size", ("ceil_mode=0",))
    found = {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    attributes: dict[str, object] = {key: tuple(int(v) for v in item) for key, item in found.items()}
    if "Pool" in node.op_type:
        _check_pool(node, value, kernel, strides, dilations, pads)
        attributes["count_include_pad"] = int(attribute(node, "count_include_pad", 0))
    return attributes, room[0] // strides[0] + 1, room[1] // strides[1] + 1


def read_pool(reader: Reader, node: NodeProto, kind: str) -> None:
    """Emits the step `kind` of a pool over floats."""
    node = as_image(reader, node)
    given = reader.image(node, 0)
    attributes, height, width = window(node, attribute(node, "kernel_shape", ()), given)
    source, value = reader.real(node, 0), image(node.output[0], "f32", height, width, given.channels)
    reader.emit(kind, node, (source.name,), value, attributes)
    reader.set_real(node, value, 4)


def pool_as_integers(kind: str, refusal: Callable[[Value, Value], str | None]) -> IntegerFusion:
    """The step `kind` of a pool over codes, unless `refusal` of its input and result says why not."""

    def rewrite(reader: Reader, node: NodeProto) -> str | None:
        node = as_image(reader, node)
        source = reader.image(node, 0)
        attributes, height, width = window(node, attribute(node, "kernel_shape", ()), source)
        target = target_of(reader, node, image("", "u8", height, width, source.channels))
        if target is None:
            return NOT_QUANTISED
        reason = refusal(source, target.value)
        if reason is None:
            emit_quantised(reader, kind, node, (source.name,), target, attributes)
        return reason

    return IntegerFusion(rewrite)


def _check_pool(
    node: NodeProto,
    value: Value,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: tuple[int, ...],
) -> None:
    """Refuses pads as large as the kernel, which ONNX Runtime refuses too, and windows wholly in the padding."""
    if any(pads[i] >= kernel[i % 2] for i in range(4)):
        raise refuse(node, f"pads {list(pads)} as large as the window", ("pads below the kernel's size",))
    for i, size in enumerate((value.height, value.width)):
        # a window that starts inside has a tap there; one that starts before it meets the image at its first tap >= 0
        last = size + pads[i + 2] - dilations[i] * (kernel[i] - 1) - 1
        for corner in range(-pads[i], min(0, last + 1), strides[i]):
            if corner % dilations[i] >= size or corner + dilations[i] * (kernel[i] - 1) < 0:
                raise refuse(node, f"pads {list(pads)} that hold a whole window", ("pads below the kernel's size",))


def _pads(node: NodeProto, sizes: tuple[int, int], extent: list[int], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Top, left, bottom, right."""
    mode, pads = attribute(node, "auto_pad", b"NOTSET").decode(), attribute(node, "pads", (0, 0, 0, 0))
    if len(pads) != 4 or min(pads) < 0:
        raise refuse(node, f"pads {list(pads)}", ("4 numbers of at least 0",))
    if mode == "NOTSET":
        return tuple(pads)
    if mode not in ("VALID", "SAME_UPPER", "SAME_LOWER") or any(pads):
        raise refuse(node, f"auto_pad={mode} with pads {list(pads)}", ("explicit pads",))
    if mode == "VALID":
        return (0, 0, 0, 0)
    total = [max(0, (-(-sizes[i] // strides[i]) - 1) * strides[i] + extent[i] - sizes[i]) for i in (0, 1)]
    less = [amount // 2 for amount in total]
    more = [amount - half for amount, half in zip(total, less, strict=True)]
    return (*less, *more) if mode == "SAME_UPPER" else (*more, *less)


def groups_of(node: NodeProto) -> int:
    """The attribute `group`."""
    groups = int(attribute(node, "group", 1))
    if groups < 1:
        raise refuse(node, f"group={groups}", ("group=1",))
    return groups
