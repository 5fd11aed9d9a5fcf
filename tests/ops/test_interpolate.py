"""Bilinear interpolation: its factors give back the size that was asked for, and its pixels lie where ONNX has them."""

from __future__ import annotations

import numpy as np

from hwnas.ops.numeric.interpolate import bilinear, factor, neighbours


def test_a_factor_gives_the_size_that_it_was_made_for() -> None:
    """A third of a pixel, rounded to float32, is less than a third: three would give none."""
    short = 0
    for size in range(1, 257):
        for result in range(1, 257):
            assert int(np.floor(np.float32(size) * factor(size, result))) == result
            assert int(np.floor(size * float(factor(size, result)))) == result
            short += factor(size, result) != np.float32(result) / np.float32(size)
    assert short > 0


def test_twice_as_large_is_a_quarter_and_three_quarters_between_centres() -> None:
    """Centres of two pixels at 0 and 1; those of four lie at -1/4, 1/4, 3/4, 5/4, the outer ones clamped."""
    places, weights = neighbours(2, 4)
    np.testing.assert_array_equal(places, [[0, 0, 0, 1], [1, 1, 1, 1]])
    np.testing.assert_array_equal(weights, [[1.0, 0.75, 0.25, 0.5], [0.0, 0.25, 0.75, 0.5]])
    found = bilinear(np.array([0.0, 8.0], np.float32).reshape(1, 1, 1, 2), (1, 4))
    np.testing.assert_array_equal(found.ravel(), [0.0, 2.0, 6.0, 8.0])


def test_one_pixel_fills_whatever_it_is_enlarged_to() -> None:
    np.testing.assert_array_equal(bilinear(np.full((2, 3, 1, 1), 7.0, np.float32), (5, 4)), np.full((2, 3, 5, 4), 7.0))
