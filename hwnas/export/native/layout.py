"""Where each value lies: halo and stored channels of its buffer, chosen so that no consumer has to copy it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hwnas.export.native.ir import ELEMENT_BYTES, Graph, Step, Value
from hwnas.export.native.planner import round_up

if TYPE_CHECKING:
    from hwnas.kernels.image import Image, Window

#: steps whose kernels read their window's padding from the input's halo
HALO_READERS = ("conv_int", "conv_f32", "binary_conv")

Halo = tuple[int, int, int, int]


def window_of(step: Step) -> Window:
    """The sliding window of a convolution or pool."""
    from hwnas.kernels.image import Window

    kernel, strides, dilations = (step.integers(key) for key in ("kernel", "strides", "dilations"))
    top, left, bottom, right = step.integers("pads")
    return Window(
        (kernel[0], kernel[1]), (strides[0], strides[1]), (top, left, bottom, right), (dilations[0], dilations[1])
    )


def images(graph: Graph) -> Mapping[str, Image]:
    """The memory image of every value; a bits value counts channels in uint32 words."""
    from hwnas.kernels.image import Image

    found = {}
    for value in graph.values.values():
        halo, quad = (0, 0, 0, 0), False
        if value.name not in (graph.input, graph.output):
            for step in graph.consumers(value.name):
                if step.kind in HALO_READERS and step.inputs[0] == value.name:
                    halo = _larger(halo, window_of(step).reach(value.height, value.width))
                    quad |= step.kind == "conv_int" and step.integer("groups") == 1
        channels = words(value) if value.kind == "bits" else value.channels
        stored = round_up(channels, 4) if quad and value.kind in ("u8", "i8") else 0
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
