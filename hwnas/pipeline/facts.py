"""What a space must know of the data, given in the run file: measuring needs channels and classes, no data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hwnas.errors import HwnasError, nearest_names

FACTS = ("in_channels", "classes", "image_size")  # of images; these may stand under `space:` as well


def given_facts(data: Mapping[str, Any], space: Mapping[str, Any], asked: Iterable[str] = ()) -> dict[str, Any]:
    """The facts that a run file gives under `space:` or as `data: {facts: {...}}`; HwnasError where one is no fact.

    `in_channels` and `classes` are counts, `image_size` is (height, width) in pixels or one number for both. Besides
    these a fact may be whatever argument the space asks for (`asked`): a number, a word or a list of them.
    """
    below = data.get("facts", {})
    if not isinstance(below, Mapping):
        raise HwnasError(f"data.facts must be a mapping such as {{in_channels: 3, classes: 10}}, got {below!r}")
    known = list(dict.fromkeys((*FACTS, *sorted(asked))))
    for name in below:
        if name not in known:
            near, takes = nearest_names(str(name), known), ", ".join(FACTS)
            hint = f"it takes {takes}, and other arguments of the space"
            raise HwnasError(f"data.facts: unknown key {name!r}", nearest=near, hint=hint)
    above = {name: space[name] for name in FACTS if name in space}
    for name in above.keys() & below.keys():
        if _fact(name, above[name]) != _fact(name, below[name]):
            raise HwnasError(f"{name} is {above[name]!r} under space and {below[name]!r} under data.facts")
    return {name: _fact(name, value) for name, value in {**below, **above}.items()}


def check_facts(given: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """HwnasError where the data set is not as the run file says: its tables would be those of another network."""
    for name, value in given.items():
        if name in found and found[name] != value:
            raise HwnasError(f"the run file says {name} {value}, the data set has {found[name]}")


def _fact(name: str, value: Any) -> Any:
    if name not in FACTS:
        return _plain(name, value)
    if name != "image_size":
        return _count(name, value)
    sides = value if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2:
        raise HwnasError(f"image_size must be [height, width] in pixels, got {value!r}")
    height, width = (_count(name, side) for side in sides)
    return height, width


def _plain(name: str, value: Any) -> Any:
    """A number, a word, or a tuple of them."""
    if isinstance(value, list | tuple):
        return tuple(_plain(name, one) for one in value)
    if not isinstance(value, int | float | str):
        raise HwnasError(f"data.facts: {name} must be a number, a word or a list of them, got {value!r}")
    return value


def _count(name: str, value: Any) -> int:
    # The largest image or set of classes that anyone names in a run file; above it a typing error is likelier.
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        raise HwnasError(f"{name} must be a whole number from 1 to 1,000,000, got {value!r}")
    return value
