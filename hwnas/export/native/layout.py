"""Where each value lies: halo and stored channels of its buffer, chosen so that no consumer has to copy it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hwnas.export.native.ir import ELEMENT_BYTES, Graph, Step, Value
from hwnas.export.native.operator import Halo, operators
from hwnas.export.native.planner import round_up

if TYPE_CHECKING:
    from hwnas.kernels.image import Image, Window


def window_of(step: Step) -> Window:
    """The sliding window of a convolution or pool."""
    from hwnas.kernels.image import Window

    kernel, strides, dilations = (step.integers(key) for key in ("kernel", "strides", "dilations"))
    top, left, bottom, right = step.integers("pads")
    return Window(
        (kernel[0], kernel[1]), (strides[0], strides[1]), (top, left, bottom, right), (dilations[0], dilations[1])
    )


def images(graph: Graph) -> Mapping[str, Image]:
    """The memory image of every value; a bits value counts channels in uint32 words.

    A plain value and one in the caller's memory are dense.
    """
    from hwnas.kernels.image import Image

    readers: dict[str, list[Step]] = {}
    for step in graph.steps:
        readers.setdefault(step.inputs[0], []).append(step)
    known, ends, found = operators(), graph.ends, {}
    for value in graph.values.values():
        halo, multiple = (0, 0, 0, 0), 1
        if value.name not in ends and value.layout == "nhwc":
            for step in readers.get(value.name, ()):
                needs = known.needs(step, value)
                halo, multiple = _larger(halo, needs.halo), max(multiple, needs.channels_multiple)
        channels = words(value) if value.kind == "bits" else value.channels
        stored = round_up(channels, multiple)
        found[value.name] = Image(value.height, value.width, channels, halo, 0 if stored == channels else stored)
    return found


def words(value: Value) -> int:
    """uint32 words of one pixel of a 1-bit value."""
    return -(-value.channels // 32)


def buffer_bytes(value: Value, image: Image) -> int:
    """Bytes of the value's whole buffer, halo included."""
    return image.size * ELEMENT_BYTES[value.kind]


def _larger(first: Halo, second: Halo) -> Halo:
    top, bottom, left, right = (max(a, b) for a, b in zip(first, second, strict=True))
    return (top, bottom, left, right)
