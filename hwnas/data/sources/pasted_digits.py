"""pasted_digits: hand-written digits pasted on photographs, every pixel a class: segmentation built from real pixels.

No segmentation set with labels is to be had offline, so this one is made: 3 to 5 of scikit-learn's digits (UCI
optdigits), enlarged, in one shade each, upon a crop of one of its two photographs. A pixel is of its digit's class
where that digit's ink is above a quarter of full, and background elsewhere. No digit and no pixel of a photograph is in
two splits: each photograph is cut into three strips. Fewer digits, larger ones and fewer kinds make an easier set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.data.segmented import Segmented
from hwnas.data.splits import SPLITS, placed, stratified
from hwnas.errors import HwnasError

BACKGROUND = "background"
FULL_INK = 16.0  # of scikit-learn's digits
THRESHOLD = 0.25  # of full ink: fainter pixels are background
CANVAS = 48
BRIGHT, DARK = (190, 256), (0, 66)  # shades of ink upon dark and upon bright ground


@dataclass(frozen=True)
class _Recipe:
    """What is pasted: so many digits, of so many pixels at a canvas of 48 (both ends included), of these kinds."""

    size: int
    digits: tuple[int, int]
    sides: tuple[int, int]
    kinds: tuple[int, ...]


def pasted_digits(
    train: int = 2000,
    validation: int = 500,
    test: int = 500,
    size: int = CANVAS,
    split_seed: int = 0,
    digits: Sequence[int] = (3, 5),
    sides: Sequence[int] = (14, 24),
    kinds: Sequence[int] = tuple(range(10)),
) -> Segmented:
    """Images uint8 (size, size, 3) and maps of the background and `kinds`; as many of each split as asked, decided by
    the seed. An image has `digits` (least, most) digits, of `sides` (least, most) pixels at a canvas of 48.

    HwnasError for counts, sizes or kinds that cannot be.
    """
    counts = {"train": train, "validation": validation, "test": test}
    for split, count in counts.items():
        if type(count) is not int or count < 1:
            raise HwnasError(f"data (pasted_digits): {split} must be a whole number of at least 1, got {count!r}")
    if type(size) is not int or not 32 <= size <= 128:
        raise HwnasError(f"data (pasted_digits): size must be 32 to 128 pixels, the width of the strips, got {size!r}")
    recipe = _Recipe(size, _range(digits, "digits", 1, 20), _range(sides, "sides", 8, CANVAS), _kinds(kinds))
    strips, inks = _strips(), _digits(split_seed, recipe.kinds)
    made = [
        _image(np.random.default_rng((split_seed, place, i)), recipe, strips[split], *inks[split])
        for place, split in enumerate(SPLITS)
        for i in range(counts[split])
    ]
    parts = np.repeat([0, 1, 2], [counts[split] for split in SPLITS])
    pixels, maps = (np.stack(arrays) for arrays in zip(*made, strict=True))
    note = "data pasted_digits: made of real pixels (digits pasted on photographs), no photographs of written digits"
    return Segmented.of("pasted_digits", pixels, maps, parts, (BACKGROUND, *map(str, recipe.kinds)), (note,))


def _whole(given: object) -> tuple[int, ...] | None:
    """Whole numbers as a tuple; None where they are something else."""
    if not isinstance(given, list | tuple) or any(type(value) is not int for value in given):
        return None
    return tuple(given)


def _range(given: object, name: str, least: int, most: int) -> tuple[int, int]:
    """(least, most) of an image; HwnasError unless least <= given[0] <= given[1] <= most."""
    ends = _whole(given)
    if ends is None or len(ends) != 2 or not least <= ends[0] <= ends[1] <= most:
        raise HwnasError(
            f"data (pasted_digits): {name} must be two whole numbers, [least, most], within {least} to {most}, "
            f"got {given!r}"
        )
    return ends[0], ends[1]


def _kinds(given: object) -> tuple[int, ...]:
    """Which digits are pasted; HwnasError unless they are some of 0 to 9, none twice."""
    kinds = _whole(given)
    if not kinds or not set(kinds) <= set(range(10)) or len(set(kinds)) < len(kinds):
        raise HwnasError(f"data (pasted_digits): kinds must be some of the digits 0 to 9, none twice, got {given!r}")
    return kinds


def _strips() -> Mapping[str, list[np.ndarray]]:
    """Of every split, its strip of each photograph: the left three fifths, a fifth and a fifth."""
    from sklearn.datasets import load_sample_images

    found: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for photograph in load_sample_images().images:
        width = photograph.shape[1]
        ends = (0, width * 3 // 5, width * 4 // 5, width)
        for split, start, end in zip(SPLITS, ends, ends[1:], strict=False):
            found[split].append(photograph[:, start:end])
    return found


def _digits(seed: int, wanted: tuple[int, ...]) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """Of every split, its digits: ink float32 (n, 8, 8) in [0, 1], and the class of each, int64 (n,): 1 for the first
    of the kinds that are wanted."""
    from sklearn.datasets import load_digits

    ink, kinds = load_digits(return_X_y=True)
    places = placed(stratified(kinds, seed, (0.6, 0.2, 0.2)))
    shaped = (ink.reshape(-1, 8, 8) / FULL_INK).astype(np.float32)
    code = np.array([wanted.index(kind) + 1 if kind in wanted else 0 for kind in range(10)], np.int64)[kinds]
    kept = {split: where[code[where] > 0] for split, where in places.items()}
    return {split: (shaped[where], code[where]) for split, where in kept.items()}


def _image(
    rng: np.random.Generator, recipe: _Recipe, strips: Sequence[np.ndarray], ink: np.ndarray, codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One image and its map. A digit that comes later lies above those before it."""
    size, strip = recipe.size, strips[int(rng.integers(len(strips)))]
    top, left = (int(rng.integers(extent - size + 1)) for extent in strip.shape[:2])
    canvas = strip[top : top + size, left : left + size].astype(np.float32)
    classes = np.zeros((size, size), np.int64)
    for _ in range(int(rng.integers(recipe.digits[0], recipe.digits[1] + 1))):
        chosen = int(rng.integers(len(codes)))
        side = max(8, int(rng.integers(recipe.sides[0], recipe.sides[1] + 1)) * size // CANVAS)
        y, x = (int(rng.integers(size - side + 1)) for _ in range(2))
        there = slice(y, y + side), slice(x, x + side)
        mask = _enlarged(ink[chosen], side)
        shade = float(rng.integers(*(BRIGHT if canvas[there].mean() < 128 else DARK)))
        canvas[there] += mask[:, :, None] * (shade - canvas[there])
        classes[there][mask > THRESHOLD] = codes[chosen]
    return np.rint(canvas).astype(np.uint8), classes


def _enlarged(ink: np.ndarray, side: int) -> np.ndarray:
    """A digit (8, 8) at `side` x `side`, bilinear between pixel centres."""
    centre = np.clip((np.arange(side) + 0.5) * len(ink) / side - 0.5, 0, len(ink) - 1)
    low = np.minimum(centre.astype(int), len(ink) - 2)
    weight = np.zeros((side, len(ink)), np.float32)
    weight[np.arange(side), low] = 1 - (centre - low)
    weight[np.arange(side), low + 1] = centre - low
    result: np.ndarray = weight @ ink @ weight.T
    return result
