"""Intervals and standard errors of accuracies, against exact enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hwnas.confidence import told_apart, unpaired_error, wilson


@pytest.mark.parametrize(("accuracy", "count", "low", "high"), [
    (0.5, 100, 0.4038, 0.5962), (0.9777, 359, 0.9567, 0.9887), (1.0, 10, 0.7225, 1.0), (0.0, 10, 0.0, 0.2775),
])  # fmt: skip
def test_the_interval_is_wilsons(accuracy: float, count: int, low: float, high: float) -> None:
    assert wilson(accuracy, count) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize("p", [0.5, 0.9, 0.98])
def test_the_interval_holds_the_truth_in_about_95_of_100_cases(p: float) -> None:
    n = 360
    covered = sum(
        math.comb(n, k) * p**k * (1 - p) ** (n - k)
        for k in range(n + 1)
        if wilson(k / n, n)[0] <= p <= wilson(k / n, n)[1]
    )
    assert 0.93 < covered < 0.98


def test_the_interval_always_holds_the_figure_itself() -> None:
    for n in (1, 3, 359, 360):
        for k in range(n + 1):
            low, high = wilson(k / n, n)
            assert 0.0 <= low <= k / n <= high <= 1.0


def test_the_errors_are_those_of_a_difference() -> None:
    assert unpaired_error(0.5, 0.5, 50) == pytest.approx(0.1)


def test_two_accuracies_are_told_apart_beyond_one_standard_error_and_not_at_it() -> None:
    best = np.arange(360) < 359
    assert not told_apart(best, best)
    assert not told_apart(best, np.arange(360) < 358), "one image against a variance of one"
    assert told_apart(best, np.arange(360) < 357), "two images against sqrt(2)"
