"""How far an accuracy can be trusted: its interval, and when two are too near to be told apart."""

from __future__ import annotations

import math

import numpy as np

Z_95 = 1.959963984540054  # the normal quantile that leaves 2.5 % on either side


def wilson(accuracy: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share seen on `count` examples (Wilson, 1927). It stays inside [0, 1] and has a width at
    0 and 1 too, where the normal approximation has none."""
    if count < 1:
        return 0.0, 1.0
    z = Z_95 * Z_95 / count
    centre = (accuracy + z / 2) / (1 + z)
    half = Z_95 * math.sqrt(accuracy * (1 - accuracy) / count + z / (4 * count)) / (1 + z)
    # Where all or none are right the far end is 1 or 0 exactly; rounding must not exclude the figure itself.
    return max(0.0, min(accuracy, centre - half)), min(1.0, max(accuracy, centre + half))


def unpaired_error(first: float, second: float, count: int) -> float:
    """The standard error of the difference of two accuracies on `count` examples each, of which only the sums are
    known. On the same examples it errs on the wide side: networks mostly fail on the same ones."""
    return math.sqrt((first * (1 - first) + second * (1 - second)) / count)


def told_apart(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two accuracies on the same examples differ by more than one standard error; bool (n,) each: right or
    wrong.

    Were there no difference, the examples on which exactly one of the two is right would fall either way like a coin,
    so their number is the variance of the difference in examples (McNemar, 1947). Whole numbers: no rounding decides.
    """
    difference = int(first.sum()) - int(second.sum())
    return difference**2 > int((first != second).sum())
