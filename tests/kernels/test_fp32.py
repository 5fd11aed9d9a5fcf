"""fp32 kernels equal their references within rounding, on every code path this machine can run."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.kernels.fp32_activation import Fp32Activation
from hwnas.kernels.image import Image, Window
from hwnas.kernels.target import parse_target
from tests.kernels.dense_grid import Case, Maker, float_convolution_cases, float_pointwise_cases
from tests.kernels.test_int8 import (
    CROSS_TARGETS,
    HOST_TARGETS,
    check_emulated,
    check_on_host,
    random_window,
    target_here,
)

ACTIVATIONS = ("none", "relu", "relu6", "hardswish", "hardsigmoid")


def random_convolutions(m: Maker, count: int, largest: int) -> list[Case]:
    cases: list[Case] = []
    for i in range(count):
        height, width = (int(size) for size in m.rng.integers(1, 9, 2))
        groups = int(m.rng.choice([1, 1, 1, 0, 0, 2, 3]))
        unit = max(groups, 1)
        channels, outputs = (unit * int(size) for size in m.rng.integers(1, largest // unit + 1, 2))
        window = random_window(m.rng, height, width)
        cases += float_convolution_cases(m, height, width, channels, outputs, window, groups, ACTIVATIONS[i % 5])
    return cases


@pytest.mark.parametrize("name", HOST_TARGETS)
def test_a_seeded_grid_equals_the_reference(name: str) -> None:
    target = target_here(name)
    m = Maker(np.random.default_rng(15), target)
    cases = random_convolutions(m, 10, 40)
    for channels in (1, 16, 37):
        x, y = Image(3, 5, channels, (1, 2, 0, 3)), Image(3, 5, channels)
        cases += float_pointwise_cases(m, x, y)
    check_on_host(cases, target)


@pytest.mark.parametrize("name", CROSS_TARGETS)
def test_a_small_grid_equals_the_reference_under_emulation(name: str) -> None:
    target = parse_target(name)
    m = Maker(np.random.default_rng(16), target)
    cases = random_convolutions(m, 4, 20)
    check_emulated(cases + float_pointwise_cases(m, Image(2, 3, 21, (1, 0, 0, 1)), Image(2, 3, 21)), target)


def test_an_unknown_activation_names_the_nearest() -> None:
    with pytest.raises(HwnasError, match="hardswish"):
        Fp32Activation(Image(1, 1, 1), Image(1, 1, 1), "hard_swish")


def test_a_one_by_one_convolution_of_padded_images_equals_the_reference() -> None:
    target = parse_target("host")
    m = Maker(np.random.default_rng(17), target)
    check_on_host(float_convolution_cases(m, 5, 6, 12, 24, Window((1, 1), (2, 2), (0, 1, 1, 0))), target)
