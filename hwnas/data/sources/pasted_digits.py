"""pasted_digits: hand-written digits pasted on photographs, every pixel a class: segmentation built from real pixels.

No segmentation set with labels is to be had offline, so this one is made: 3 to 5 of scikit-learn's digits (UCI
optdigits), enlarged, in one shade each, upon a crop of one of its two photographs. A pixel is of its digit's class + 1
where that digit's ink is above a quarter of full, and 0 elsewhere. No digit and no pixel of a photograph is in two
splits: each photograph is cut into three strips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hwnas.data.segmented import Segmented
from hwnas.data.splits import SPLITS, placed, stratified
from hwnas.errors import HwnasError

CLASSES = ("background", *map(str, range(10)))
FULL_INK = 16.0  # of scikit-learn's digits
THRESHOLD = 0.25  # of full ink: fainter pixels are background
DIGITS = (3, 5)  # on one image, both ends included
SIDES = (14, 24)  # pixels of a pasted digit at a canvas of 48, both ends included
CANVAS = 48
BRIGHT, DARK = (190, 256), (0, 66)  # shades of ink upon dark and upon bright ground


def pasted_digits(
    train: int = 2000, validation: int = 500, test: int = 500, size: int = CANVAS, split_seed: int = 0
) -> Segmented:
    """Images uint8 (size, size, 3) and maps of eleven classes; as many of each split as asked, decided by the seed."""
    counts = {"train": train, "validation": validation, "test": test}
    for split, count in counts.items():
        if type(count) is not int or count < 1:
            raise HwnasError(f"data (pasted_digits): {split} must be a whole number of at least 1, got {count!r}")
    if type(size) is not int or not 32 <= size <= 128:
        raise HwnasError(f"data (pasted_digits): size must be 32 to 128 pixels, the width of the strips, got {size!r}")
    strips, digits = _strips(), _digits(split_seed)
    made = [
        _image(np.random.default_rng((split_seed, place, i)), size, strips[split], *digits[split])
        for place, split in enumerate(SPLITS)
        for i in range(counts[split])
    ]
    parts = np.repeat([0, 1, 2], [counts[split] for split in SPLITS])
    pixels, maps = (np.stack(arrays) for arrays in zip(*made, strict=True))
    note = "data pasted_digits: made of real pixels (digits pasted on photographs), no photographs of written digits"
    return Segmented.of("pasted_digits", pixels, maps, parts, CLASSES, (note,))


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


def _digits(seed: int) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """Of every split, its digits: ink float32 (n, 8, 8) in [0, 1], and which they are, int64 (n,)."""
    from sklearn.datasets import load_digits

    ink, kinds = load_digits(return_X_y=True)
    places = placed(stratified(kinds, seed, (0.6, 0.2, 0.2)))
    shaped = (ink.reshape(-1, 8, 8) / FULL_INK).astype(np.float32)
    return {split: (shaped[where], kinds[where].astype(np.int64)) for split, where in places.items()}


def _image(
    rng: np.random.Generator, size: int, strips: Sequence[np.ndarray], ink: np.ndarray, kinds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One image and its map. A digit that comes later lies above those before it."""
    strip = strips[int(rng.integers(len(strips)))]
    top, left = (int(rng.integers(extent - size + 1)) for extent in strip.shape[:2])
    canvas = strip[top : top + size, left : left + size].astype(np.float32)
    classes = np.zeros((size, size), np.int64)
    for _ in range(int(rng.integers(DIGITS[0], DIGITS[1] + 1))):
        chosen = int(rng.integers(len(kinds)))
        side = max(8, int(rng.integers(SIDES[0], SIDES[1] + 1)) * size // CANVAS)
        y, x = (int(rng.integers(size - side + 1)) for _ in range(2))
        there = slice(y, y + side), slice(x, x + side)
        mask = _enlarged(ink[chosen], side)
        shade = float(rng.integers(*(BRIGHT if canvas[there].mean() < 128 else DARK)))
        canvas[there] += mask[:, :, None] * (shade - canvas[there])
        classes[there][mask > THRESHOLD] = kinds[chosen] + 1
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
