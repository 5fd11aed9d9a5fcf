"""1-bit convolution kernels equal their reference bit for bit, on every code path this machine can run."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.kernels.binary_conv import BinaryConv, BinaryParameters, pack, reference, tiles
from hwnas.kernels.binary_dense import dense
from hwnas.kernels.cross_library import can_run, run
from hwnas.kernels.host_library import HostLibrary
from hwnas.kernels.image import Image, Window
from hwnas.kernels.packed_bits import pack_bits, word_count
from hwnas.kernels.target import Target, parse_target
from tests.kernels.binary_grid import Case, convolution, random_case

HOST_TARGETS = ("host", "x86-avx512", "x86-avx2", "x86-ssse3")
CROSS_TARGETS = ("aarch64", "aarch64-dotprod", "armv7-neon", "riscv64", "riscv64-v", "wasm32-simd128", "cortex-m4")


def runs_here(name: str) -> bool:
    target, host = parse_target(name), parse_target("host")
    return target.arch == host.arch and target.features <= host.features


def check_on_host(cases: list[Case], target: Target) -> None:
    library = HostLibrary([case.function for case in cases], target)
    for case in cases:
        library.call(case.symbol, *case.arguments)
    assert [problem for problem in (case.problem() for case in cases) if problem] == []


def check_emulated(cases: list[Case], target: Target) -> None:
    run([case.function for case in cases], target, [(case.symbol, case.arguments) for case in cases])
    assert [problem for problem in (case.problem() for case in cases) if problem] == []


def unique(cases: list[Case]) -> list[Case]:
    return list({case.symbol: case for case in cases}.values())


@pytest.mark.parametrize("name", HOST_TARGETS)
def test_a_seeded_grid_equals_the_reference(name: str) -> None:
    if not runs_here(name):
        pytest.skip(f"this machine does not run {name}")
    rng = np.random.default_rng(7)
    target = parse_target(name)
    check_on_host(unique([random_case(rng, target) for _ in range(24)]), target)


@pytest.mark.parametrize("name", CROSS_TARGETS)
def test_a_small_grid_equals_the_reference_under_emulation(name: str) -> None:
    target = parse_target(name)
    if not can_run(target):
        pytest.skip(f"no linker or emulator for {name}")
    rng = np.random.default_rng(11)
    cases = unique([random_case(rng, target, largest=70) for _ in range(8)])
    check_emulated(cases, target)


def test_channels_from_1_to_1100_equal_the_reference() -> None:
    rng = np.random.default_rng(3)
    target = parse_target("host")
    window = Window((3, 3), (1, 1), (1, 1, 1, 1))
    sizes = [1, 2, 31, 32, 33, 63, 65, 95, 127, 129, 255, 257, 511, 513, 1023, 1099, 1100]
    specs = [convolution(3, 5, inputs, 1 + inputs % 37, window, output="float") for inputs in sizes]
    specs += [convolution(3, 2, 40, outputs, window, output="float+bits") for outputs in sizes]
    check_on_host([Case(spec, target, rng) for spec in specs], target)


def test_dense_layers_equal_the_reference() -> None:
    rng = np.random.default_rng(4)
    target = parse_target("host")
    specs = [
        dense(inputs, outputs, output)
        for inputs, outputs in ((1, 1), (100, 10), (1100, 333), (512, 1000))
        for output in ("int32", "float", "bits", "float+bits")
    ]
    check_on_host([Case(spec, target, rng) for spec in specs], target)


def accumulator_edges(target: Target) -> list[Case]:
    """Sums that fill byte lanes (after 7 words of nibbles, 31 of bytes) and 16-bit lanes (2047 words) to the brim."""
    rng = np.random.default_rng(6)
    words = (7, 8, 14, 15, 31, 32, 62, 63, 2047, 2048)
    specs = [convolution(1, 1, 32 * count, 5, Window()) for count in words]
    window = Window((3, 3), (1, 1), (1, 1, 1, 1))
    specs += [convolution(2, 2, 32 * count, 5, window, padding="minus") for count in (1, 7, 31)]
    signs = ((-1, 1), (1, 1))
    return [Case(spec, target, rng, signs=signs[index % 2]) for index, spec in enumerate(specs)] + [
        Case(convolution(1, 1, 32 * count, 6, Window()), target, rng, signs=(1, -1)) for count in words
    ]


@pytest.mark.parametrize("name", HOST_TARGETS)
def test_the_largest_sums_do_not_overflow(name: str) -> None:
    if not runs_here(name):
        pytest.skip(f"this machine does not run {name}")
    check_on_host(accumulator_edges(parse_target(name)), parse_target(name))


@pytest.mark.parametrize("name", ["aarch64", "riscv64", "wasm32-simd128"])
def test_the_largest_sums_do_not_overflow_under_emulation(name: str) -> None:
    target = parse_target(name)
    if not can_run(target):
        pytest.skip(f"no linker or emulator for {name}")
    check_emulated(accumulator_edges(target), target)


@pytest.mark.parametrize("padding", ["zero", "minus", "plus"])
def test_a_hand_computed_corner_counts_the_padding(padding: str) -> None:
    spec = convolution(1, 1, 3, 1, Window((3, 3), (1, 1), (1, 1, 1, 1)), padding=padding)
    words = pack_bits(np.ones((1, 1, 3), bool))
    weights = np.ones((1, 3, 3, 3), np.int8)
    expected = 3 + {"zero": 0, "minus": -1, "plus": 1}[padding] * 8 * 3
    assert reference(spec, words, BinaryParameters(weights))[0].item() == expected
    target = parse_target("host")
    case = Case(spec, target, np.random.default_rng(0))
    check_on_host([case], target)


def test_a_value_on_the_threshold_is_plus_one() -> None:
    spec = dense(4, 1, "bits")
    words = pack_bits(np.array([True, True, False, False]))[None, None]
    weights = np.ones((1, 1, 1, 4), np.int8)
    tie = BinaryParameters(weights, threshold=np.array([0], np.int32))
    above = BinaryParameters(weights, threshold=np.array([1], np.int32))
    assert reference(spec, words, tie)[0].item() == 1
    assert reference(spec, words, above)[0].item() == 0


def test_every_offered_tile_equals_the_reference() -> None:
    rng = np.random.default_rng(5)
    target = parse_target("host")
    spec = convolution(
        9, 11, 70, 150, Window((3, 3), (1, 1), (1, 1, 1, 1)), output="float+bits", activation="prelu", residual=True
    )
    offered = tiles(spec, target)
    assert 1 <= len(offered) <= 8
    check_on_host([Case(spec, target, rng, tile) for tile in offered], target)


def test_constants_do_not_depend_on_the_tile() -> None:
    spec = convolution(3, 3, 70, 40, Window())
    weights = np.ones((40, 1, 1, 70), np.int8)
    packed = pack(spec, parse_target("x86-avx512-vnni"), BinaryParameters(weights))
    assert packed[0].dtype == np.uint32 and packed[0].size == 3 * 16 * word_count(70)


def test_shapes_that_do_not_fit_are_refused() -> None:
    window = Window((3, 3), (1, 1), (1, 1, 1, 1))
    with pytest.raises(HwnasError, match="halo"):
        BinaryConv(Image(4, 4, 2), 64, 8, window, output="int32", y=Image(4, 4, 8))
    with pytest.raises(HwnasError, match="words a pixel"):
        BinaryConv(Image(4, 4, 2, (1, 1, 1, 1)), 65, 8, window, output="int32", y=Image(4, 4, 8))
    with pytest.raises(HwnasError, match="groups"):
        convolution(4, 4, 64, 6, window, groups=4)
    with pytest.raises(HwnasError, match="neither residual nor activation"):
        convolution(4, 4, 64, 8, window, output="int32", activation="prelu")


def test_sums_that_could_overflow_are_refused() -> None:
    with pytest.raises(HwnasError, match="overflow"):
        convolution(1, 1, 2**25, 1, Window((7, 7), (1, 1), (3, 3, 3, 3)))
