"""softsign_net: a stem, blocks conv_softsign of a searched number, width and kernel, a head; one format for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hwnas import formats
from hwnas.blocks.shapes import spatial
from hwnas.errors import HwnasError
from hwnas.network import FULL_PRECISION, Operator, Shape
from hwnas.space import Choice, SearchSpace, Slot
from hwnas.spaces.resolution import checked_size
from hwnas.spaces.staged import checked_precisions, conversion

STEM = 8
Values = Mapping[str, Any]


def softsign_net(
    in_channels: int,
    classes: int,
    widths: Sequence[int] = (8, 16),
    most_blocks: int = 3,
    kernels: Sequence[int] = (3, 5),
    precisions: Sequence[str] = ("fp32", "int8"),
    image_size: Sequence[int] | None = None,
) -> SearchSpace:
    """The space for images (in_channels, height, width), as large as the data's (8 x 8 by default)."""
    if most_blocks < 1:
        raise HwnasError(f"most_blocks must be at least 1, got {most_blocks}")
    image = (in_channels, *(checked_size(image_size) or (8, 8)))
    before = spatial(image, STEM, 2)

    def block(number: int) -> Slot:
        def build(v: Values) -> Operator | None:
            given = before if number == 0 else (v["width"], *before[1:])
            if number >= v["depth"]:
                return None
            attributes = {"kernel": v[f"b{number}.kernel"], "stride": 1}
            return Operator.of("conv_softsign", given, (v["width"], *before[1:]), v["precision"], **attributes)

        return Slot(f"b{number}", ("depth", "width", "precision", f"b{number}.kernel"), build)

    def stem(v: Values) -> Operator:
        return Operator.of("conv_bn_act", image, before, _end(v["precision"]), kernel=3, stride=2, activation="relu")

    def head(v: Values) -> Operator:
        return Operator.of("pool_dense", (v["width"], *before[1:]), (classes,), _end(v["precision"]), classes=classes)

    blocks = [block(number) for number in range(most_blocks)]
    slots = (
        _converting("input", lambda p: (FULL_PRECISION, _end(p)), image),
        Slot("stem", ("precision",), stem),
        *blocks,
        Slot("head", ("width", "precision"), head),
        _converting("output", lambda p: (_end(p), FULL_PRECISION), (classes,)),
    )
    choices = (
        Choice("depth", tuple(range(1, most_blocks + 1))),
        Choice("width", tuple(widths)),
        *(Choice(f"b{number}.kernel", tuple(kernels)) for number in range(most_blocks)),
        Choice("precision", checked_precisions(precisions), "precision"),
    )
    return SearchSpace("softsign_net", choices, slots, in_channels, classes)


def _end(precision: str) -> str:
    """The format of stem and head in a network of this format."""
    ends = formats.of(precision).ends
    return precision if precision in ends else ends[0]


def _converting(name: str, ends: Any, shape: Shape) -> Slot:
    """Where the network's float input or output meets codes."""
    return Slot(name, ("precision",), lambda v: conversion(*ends(v["precision"]), shape))
