"""INT8 kernels equal their references bit for bit, on every code path this machine can run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.kernels import int8_add, int8_conv
from hwnas.kernels.cross_library import can_run, run
from hwnas.kernels.host_library import HostLibrary
from hwnas.kernels.image import Image, Window
from hwnas.kernels.int8_conv import Int8Conv
from hwnas.kernels.target import Target, parse_target
from hwnas.ops.add import add_codes
from hwnas.ops.numeric.scales import Scale
from hwnas.ops.primitive import Codes
from tests.kernels.dense_grid import Case, Maker, convolution_cases, layout_cases, pointwise_cases, pool_cases

# AVX-VNNI has no alias: its CPU is spelled out
HOST_TARGETS = (
    "x86-avx512-vnni",
    "x86-avx512",
    "x86-avx2",
    "x86-ssse3",
    "x86_64-linux-gnu -mcpu=haswell -mattr=+avxvnni",
)
CROSS_TARGETS = (
    "aarch64",
    "aarch64-dotprod",
    "aarch64-i8mm",
    "armv7-neon",
    "riscv64",
    "riscv64-v",
    "wasm32-simd128",
    "cortex-m4",
)


def target_here(name: str) -> Target:
    """The target, or a skip where this machine does not run it."""
    target, host = parse_target(name), parse_target("host")
    features = host.features | ({"avxvnni"} if "avx_vnni" in Path("/proc/cpuinfo").read_text() else set())
    if target.arch != host.arch or not target.features <= features:
        pytest.skip(f"this machine does not run {name}")
    return target


def unique(cases: list[Case]) -> list[Case]:
    return list({case.symbol: case for case in cases}.values())


def check_on_host(cases: list[Case], target: Target) -> None:
    cases = unique(cases)
    library = HostLibrary([case.function for case in cases], target)
    for case in cases:
        library.call(case.symbol, *case.arguments)
    assert [problem for problem in (case.problem() for case in cases) if problem] == []


def check_emulated(cases: list[Case], target: Target) -> None:
    if not can_run(target):
        pytest.skip(f"no linker or emulator for {target.text}")
    cases = unique(cases)
    run([case.function for case in cases], target, [(case.symbol, case.arguments) for case in cases])
    assert [problem for problem in (case.problem() for case in cases) if problem] == []


def random_window(rng: np.random.Generator, height: int, width: int) -> Window:
    """Kernels 1, 3, 5 or 7, strides, dilation and uneven padding, that fit the image."""
    while True:
        kernel = tuple(int(k) for k in rng.choice([1, 3, 5, 7, 2], 2, p=[0.3, 0.4, 0.1, 0.1, 0.1]))
        stride = tuple(int(s) for s in rng.integers(1, 3, 2))
        dilation = tuple(int(d) for d in rng.choice([1, 1, 2], 2))
        padding = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if reach[0] < height + padding[0] + padding[2] and reach[1] < width + padding[1] + padding[3]:
            return Window(kernel, stride, padding, dilation)  # type: ignore[arg-type]


def random_convolutions(m: Maker, count: int, largest: int) -> list[Case]:
    cases: list[Case] = []
    for _ in range(count):
        height, width = (int(size) for size in m.rng.integers(1, 9, 2))
        groups = int(m.rng.choice([1, 1, 1, 0, 0, 2, 3]))
        unit = max(groups, 1)
        channels, outputs = (unit * int(size) for size in m.rng.integers(1, largest // unit + 1, 2))
        window = random_window(m.rng, height, width)
        cases += convolution_cases(m, height, width, channels, outputs, window, groups, bool(m.rng.integers(2)))
    return cases


@pytest.mark.parametrize("name", HOST_TARGETS)
def test_a_seeded_grid_of_convolutions_equals_the_reference(name: str) -> None:
    target = target_here(name)
    m = Maker(np.random.default_rng(5), target)
    check_on_host(random_convolutions(m, 24, 70), target)


@pytest.mark.parametrize("name", CROSS_TARGETS)
def test_a_small_grid_equals_the_reference_under_emulation(name: str) -> None:
    target = parse_target(name)
    m = Maker(np.random.default_rng(6), target)
    x, y = Image(4, 5, 21, (1, 0, 0, 1), 24), Image(4, 5, 21, (0, 1, 0, 0))
    cases = random_convolutions(m, 8, 40) + pointwise_cases(m, x, y) + layout_cases(m, x, y)
    check_emulated(cases + pool_cases(m, x, Window((3, 3), (2, 2), (1, 1, 1, 1))), target)


@pytest.mark.parametrize("name", HOST_TARGETS)
def test_pointwise_pool_and_layout_kernels_equal_the_reference(name: str) -> None:
    target = target_here(name)
    m = Maker(np.random.default_rng(8), target)
    cases = []
    for channels in (1, 37, 130):
        dense = Image(3, 5, channels)
        haloed = Image(3, 5, channels, (1, 2, 0, 3), channels + 3)
        for x, y in ((dense, dense), (Image(3, 5, channels, (1, 1, 1, 1)), haloed)):
            cases += pointwise_cases(m, x, y) + layout_cases(m, x, y)
        cases += pool_cases(m, haloed, Window((3, 2), (2, 1), (1, 1, 0, 0)))
    check_on_host(cases, target)


def test_channels_from_1_to_1100_equal_the_reference() -> None:
    target = parse_target("host")
    m = Maker(np.random.default_rng(9), target)
    cases = []
    for channels in (1, 2, 5, 31, 33, 63, 65, 127, 129, 257, 511, 1023, 1100):
        window = Window((3, 3), (1, 1), (1, 1, 1, 1))
        cases += convolution_cases(m, 2, 3, channels, 1 + channels % 41, window)
        cases += convolution_cases(m, 2, 3, 1 + channels % 37, channels, Window())
        cases += convolution_cases(m, 3, 4, channels, channels, window, 0)
    check_on_host(cases, target)


def test_every_tile_gives_the_same_answer() -> None:
    target = parse_target("host")
    m = Maker(np.random.default_rng(10), target)
    window = Window((3, 3), (1, 1), (1, 1, 1, 1))
    cases = convolution_cases(m, 5, 13, 20, 88, window, all_tiles=True)
    cases += convolution_cases(m, 5, 13, 88, 88, window, 0, all_tiles=True)
    cases += convolution_cases(m, 1, 1, 96, 200, Window(), all_tiles=True)
    check_on_host(cases, target)


@pytest.mark.parametrize(("pixel", "weight"), [(255, -128), (255, 127), (0, -128)])
def test_extreme_values_do_not_overflow(pixel: int, weight: int) -> None:
    target = parse_target("host")
    x, y = Image(1, 1, 4096), Image(1, 1, 16)
    spec = Int8Conv(x, y, y_zero_point=128)
    weights = np.full((16, 4096, 1, 1), weight, np.int8)
    scale = np.full(16, 5e-7, np.float32)
    pixels = np.full((1, 1, 4096), pixel, np.uint8)
    m = Maker(np.random.default_rng(0), target)
    packed = int8_conv.pack(spec, target, weights, None, scale, 0)
    expected = int8_conv.reference(spec, pixels, weights, None, scale, 0)
    assert expected[0, 0, 0] == 128 + round(4096 * pixel * weight * 5e-7)
    check_on_host([m.case(int8_conv, spec, [pixels], packed, expected, 0, [x])], target)


def test_an_accumulator_that_could_overflow_is_refused() -> None:
    with pytest.raises(HwnasError, match="overflow the int32 accumulator"):
        Int8Conv(Image(1, 1, 70000), Image(1, 1, 1))


def test_a_bias_that_could_overflow_is_refused() -> None:
    spec = Int8Conv(Image(1, 1, 4), Image(1, 1, 1))
    weight, bias = np.full((1, 4, 1, 1), 127, np.int8), np.array([2**31 - 1], np.int32)
    with pytest.raises(HwnasError, match="leave the int32 range"):
        int8_conv.pack(spec, parse_target("host"), weight, bias, np.ones(1, np.float32), 0)


def test_a_halo_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(HwnasError, match="halo"):
        Int8Conv(Image(5, 5, 4), Image(5, 5, 4), Window((3, 3), (1, 1), (1, 1, 1, 1)))


def test_a_hand_computed_requantisation_rounds_half_to_even_and_saturates() -> None:
    spec = Int8Conv(Image(1, 6, 1, stored=4), Image(1, 6, 1), y_zero_point=10)
    pixels = np.array([0, 1, 3, 5, 255, 2], np.uint8).reshape(1, 6, 1)
    weight, scale = np.array([[[[1]]]], np.int8), np.array([0.5], np.float32)
    answer = int8_conv.reference(spec, pixels, weight, np.array([-1], np.int32), scale, 0)
    assert answer.reshape(-1).tolist() == [10, 10, 11, 12, 137, 10]


def test_every_pair_of_codes_is_added_as_the_quantised_module_adds_them() -> None:
    """That is ONNX Runtime's way (tests/ops/test_contract.py); one more fusion decides a tie of the first set."""
    rng = np.random.default_rng(5)
    a, b = (values.reshape(256, 256, 1) for values in np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2))
    sets = [((0.06290324032306671, 0.04788261279463768, 0.04330270737409592), (125, 123, 0))]
    for _ in range(40):
        drawn = rng.uniform(0.005, 0.1, 3).astype(np.float32)
        sets.append((tuple(map(float, drawn)), tuple(map(int, rng.integers(0, 256, 3)))))  # type: ignore[arg-type]
    spec = int8_add.Int8Add(*[Image(256, 256, 1)] * 3)
    for scales, zeros in sets:
        codes = [Scale(*pair) for pair in zip(scales, zeros, strict=True)]
        expected = add_codes(a, b, Codes((codes[0], codes[1]), codes[2]))
        found = int8_add.reference(spec, a, b, int8_add.ratios(scales, zeros))
        np.testing.assert_array_equal(found, expected)
