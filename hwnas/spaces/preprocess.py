"""preprocess: any space, its networks taking raw uint8 images of the data's own size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hwnas.errors import HwnasError
from hwnas.network import Operator, Shape
from hwnas.space import Architecture, SearchSpace, Slot

NAME = "preprocess"
CHOICE = "resolution"


def reading_pixels(space: SearchSpace, image_size: tuple[int, int]) -> SearchSpace:
    """`space` with a `preprocess` operator in front, from uint8 (H, W, C) to what its first operator takes.

    So resizing and normalising are in the table, in every prediction and in what is measured. Which operator it is may
    depend on the choice `resolution` alone; HwnasError where a space's input depends on anything else.
    """
    depends = (CHOICE,) if CHOICE in space.by_name else ()
    options = space.by_name[CHOICE].options if depends else (None,)
    built = {option: _operator(space, option, image_size) for option in options}

    def build(values: Mapping[str, Any]) -> Operator:
        return built[values[CHOICE] if depends else None]

    return replace(space, slots=(Slot(NAME, depends, build), *space.slots))


def _operator(space: SearchSpace, resolution: Any, image_size: tuple[int, int]) -> Operator:
    chosen = {} if resolution is None else {CHOICE: resolution}
    shapes: set[Shape] = {
        space.lower(Architecture({**architecture, **chosen})).input_shape
        for architecture in (space.smallest(), space.largest())
    }
    shape = min(shapes)
    if len(shapes) > 1 or len(shape) != 3:
        raise HwnasError(
            f"space {space.name!r} takes inputs {sorted(shapes)}; preprocessing inside needs one image (C, h, w)",
            hint="preprocess: outside",
        )
    return Operator.of(NAME, (*image_size, shape[0]), shape)
