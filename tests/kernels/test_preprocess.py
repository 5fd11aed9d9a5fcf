"""Raw pixels to the normalised image: the kernel equals its reference bit for bit, on every target that runs here."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.kernels import preprocess
from hwnas.kernels.builder import kernel_name
from hwnas.kernels.cross_library import can_run, run
from hwnas.kernels.host_library import HostLibrary
from hwnas.kernels.image import Image
from hwnas.kernels.memory import aligned_copy
from hwnas.kernels.preprocess import Preprocess
from hwnas.kernels.target import Target, parse_target
from hwnas.ops.numeric import resample
from tests.kernels.test_int8 import CROSS_TARGETS, HOST_TARGETS, target_here

# (H, W, C) -> (h, w): smaller, larger, one axis only, one pixel, lines shorter than a vector, the same size
SHAPES = (
    ((37, 29, 3), (11, 8)),
    ((5, 7, 1), (16, 16)),
    ((24, 24, 3), (24, 9)),
    ((6, 50, 4), (1, 1)),
    ((1, 1, 3), (3, 2)),
    ((9, 33, 3), (9, 33)),
    ((2, 2, 1), (2, 2)),
    ((8, 16, 5), (8, 16)),
)
MARK = 99.0


class Case:
    """One call with an output inside a halo, and what must come out of it."""

    def __init__(self, target: Target, rng: np.random.Generator, shape: tuple[int, int, int], size: tuple[int, int]):
        y = Image(*size, shape[2], (1, 0, 2, 1))
        rows, columns = (resample.taps(a, b) for a, b in zip(shape, size, strict=False))
        taps = None if shape[:2] == size else ((rows.first, rows.weights), (columns.first, columns.weights))
        counts = None if taps is None else (rows.weights.shape[1], columns.weights.shape[1])
        self.spec = Preprocess(Image(*shape), y, counts)
        pixels = rng.choice(np.array([0, 255, *range(256)], np.uint8), shape)
        ends = (rng.uniform(0, 255, shape[2]).astype(np.float32), rng.uniform(0.004, 0.1, shape[2]).astype(np.float32))
        pair = taps or (None, None)
        self.expected = preprocess.reference(self.spec, pixels, *ends, *pair)
        packed = preprocess.pack(self.spec, target, *ends, *pair)
        scratch = [] if taps is None else [np.full(self.spec.line, -1, np.int32)]
        y_buffer = np.full(y.size, MARK, np.float32)
        self.arguments = [aligned_copy(a) for a in (pixels.reshape(-1), *packed, y_buffer, *scratch)]
        self.y_index = 1 + len(packed)
        self.function = preprocess.build(self.spec, target)
        self.symbol = kernel_name(self.spec)

    def check(self) -> None:
        buffer = self.arguments[self.y_index]
        got = self.spec.y.extract(buffer)
        np.testing.assert_array_equal(got, self.expected)
        np.testing.assert_array_equal(self.spec.y.embed(got, MARK), buffer)


def cases(target: Target) -> list[Case]:
    rng = np.random.default_rng(4)
    return [Case(target, rng, shape, size) for shape, size in SHAPES]


@pytest.mark.parametrize("name", HOST_TARGETS)
def test_it_equals_the_reference_bit_for_bit(name: str) -> None:
    target = target_here(name)
    made = cases(target)
    library = HostLibrary([case.function for case in made], target)
    for case in made:
        library.call(case.symbol, *case.arguments)
        case.check()


@pytest.mark.parametrize("name", CROSS_TARGETS)
def test_it_equals_the_reference_under_emulation(name: str) -> None:
    target = parse_target(name)
    if not can_run(target):
        pytest.skip(f"no linker or emulator for {target.text}")
    made = cases(target)
    run([case.function for case in made], target, [(case.symbol, case.arguments) for case in made])
    for case in made:
        case.check()


def test_an_image_of_255_fills_the_integers_and_stays_flat() -> None:
    target = parse_target("host")
    rows, columns = resample.taps(640, 7), resample.taps(3, 5)
    pair = ((rows.first, rows.weights), (columns.first, columns.weights))
    spec = Preprocess(Image(640, 3, 1), Image(7, 5, 1), (rows.weights.shape[1], columns.weights.shape[1]))
    pixels, ends = np.full((640, 3, 1), 255, np.uint8), (np.zeros(1, np.float32), np.ones(1, np.float32))
    packed = preprocess.pack(spec, target, *ends, *pair)
    y, line = aligned_copy(np.zeros(35, np.float32)), aligned_copy(np.zeros(3, np.int32))
    arguments = [aligned_copy(a) for a in (pixels.reshape(-1), *packed)]
    HostLibrary([preprocess.build(spec, target)], target).call(kernel_name(spec), *arguments, y, line)
    assert set(y.tolist()) == {255.0}


@pytest.mark.parametrize(
    ("first", "weights", "told"),
    [
        ([0, 4], [[1, 1], [1, 1]], "within 5 pixels"),
        ([-1, 0], [[1, 1], [1, 1]], "within 5 pixels"),
        ([0, 1], [[1, -1], [1, 1]], "at least 0"),
        ([0, 1], [[2**22, 1], [1, 1]], "sum to at most"),
        ([0], [[1, 1]], "taps must be"),
    ],
)
def test_taps_that_would_read_outside_or_overflow_are_refused(
    first: list[int], weights: list[list[int]], told: str
) -> None:
    spec = Preprocess(Image(5, 5, 1), Image(2, 2, 1), (2, 2))
    bad = (np.array(first), np.array(weights))
    good = (np.array([0, 1]), np.array([[1, 1], [1, 1]]))
    with pytest.raises(HwnasError, match=told):
        preprocess.pack(spec, parse_target("host"), np.zeros(1), np.ones(1), bad, good)
