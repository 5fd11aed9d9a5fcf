"""How far a metric can be trusted: its interval, and when two are too near to be told apart."""

from __future__ import annotations

import math
from collections.abc import Callable

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


Reduce = Callable[[np.ndarray], float]  # statistics (n, k) of single examples to a metric; depends on their mean alone


def shares(reduce: Reduce, statistics: np.ndarray) -> np.ndarray:
    """What each example adds to the metric of the set, float64 (n,): n T - (n - 1) T_without_it (Tukey's pseudo-values,
    1958). Their mean is the metric, exactly so where that is a mean, to first order where it is a ratio of sums."""
    count = len(statistics)
    whole = reduce(statistics)
    if count < 2:
        return np.full(count, whole)
    left = (statistics.sum(axis=0) - statistics) / (count - 1)
    without = np.array([reduce(row[None]) for row in left])
    return np.asarray(np.round(count * whole - (count - 1) * without, 9))  # right and wrong are 1 and 0, not nearly so


def interval(reduce: Reduce, statistics: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a metric: Wilson's where every example counts as 0 or 1, else the jackknife's."""
    count, whole = len(statistics), reduce(statistics)
    added = shares(reduce, statistics)
    if np.isin(added, (0.0, 1.0)).all():
        return wilson(whole, count)
    half = Z_95 * float(added.std(ddof=1)) / math.sqrt(count)
    return whole - half, whole + half


def unpaired_error(first: float, second: float, count: int) -> float:
    """The standard error of the difference of two accuracies on `count` examples each, of which only the sums are
    known. On the same examples it errs on the wide side: networks mostly fail on the same ones."""
    return math.sqrt((first * (1 - first) + second * (1 - second)) / count)


def told_apart(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two metrics on the same examples differ by more than one standard error; (n,) each: what every example
    adds (see `shares`), for an accuracy right or wrong.

    Were there no difference, the sum of the examples' differences d would have the variance sum d^2; for an accuracy
    that is the number of examples on which exactly one of the two is right (McNemar, 1947).
    """
    difference = first.astype(np.float64) - second.astype(np.float64)
    # At equality they are not told apart; the last digits of sums must not decide that.
    return bool(difference.sum() ** 2 > (difference**2).sum() * (1 + 1e-9))
