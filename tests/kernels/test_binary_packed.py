"""Operators on packed signs: sign packing, pooling, channel shuffle, and the packing itself."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.kernels import binary_pool, binary_shuffle, sign_pack
from hwnas.kernels.binary_pool import BinaryPool
from hwnas.kernels.binary_shuffle import BinaryShuffle
from hwnas.kernels.cross_library import can_run, run
from hwnas.kernels.host_library import HostLibrary
from hwnas.kernels.image import Image, Window
from hwnas.kernels.memory import aligned_copy
from hwnas.kernels.packed_bits import pack_bits, pixel_fill, signs, unpack_bits, unpack_weight_bytes, word_count
from hwnas.kernels.sign_pack import SignPack
from hwnas.kernels.target import parse_target
from tests.kernels.test_binary_conv import CROSS_TARGETS, HOST_TARGETS, runs_here

UNTOUCHED = 0xDEADBEEF
Call = tuple[object, list[np.ndarray], Image, np.ndarray]


def sign_pack_calls(target_name: str, rng: np.random.Generator) -> list[Call]:
    calls: list[Call] = []
    for channels in (1, 3, 16, 31, 32, 33, 64, 100, 1100):
        x = Image(3, 2, channels, (1, 0, 1, 0))
        spec = SignPack(x, Image(3, 2, word_count(channels), (0, 1, 1, 0)))
        values = rng.integers(-2, 3, x.shape).astype(np.float32)
        values[0, 0, 0] = np.nan
        threshold = rng.integers(-1, 2, channels).astype(np.float32)
        target = parse_target(target_name)
        arrays = [x.embed(values, 9.0), *sign_pack.pack(spec, target, threshold)]
        calls.append((sign_pack.build(spec, target), arrays, spec.bits, sign_pack.reference(spec, values, threshold)))
    return calls


def pool_calls(target_name: str, rng: np.random.Generator) -> list[Call]:
    calls: list[Call] = []
    dilated = Window((3, 1), (1, 1), (0, 0, 0, 0), (2, 1))
    windows = [Window((2, 2), (2, 2)), Window((3, 3), (2, 2), (1, 1, 1, 1)), dilated]
    for kind in ("max", "min"):
        for window, channels in zip(windows, (40, 600, 1), strict=True):
            height, width = window.result(7, 6)
            x = Image(7, 6, word_count(channels), window.reach(7, 6))
            spec = BinaryPool(x, Image(height, width, x.channels, (1, 1, 1, 1)), window, kind)
            words = pack_bits(rng.random((7, 6, channels)) < 0.5)
            buffer = x.embed(words, 0)
            if kind == "min":  # a halo of +1 in every valid channel
                whole = np.broadcast_to(pixel_fill(channels, 1), (x.size // x.channels, x.channels)).copy()
                outside = x.embed(np.ones_like(words), 0).reshape(whole.shape) == 0
                buffer = np.where(outside, whole, buffer.reshape(whole.shape)).reshape(-1)
            arrays = [buffer]
            right = binary_pool.reference(spec, words)
            if kind == "min":
                right = right & pixel_fill(channels, 1)
            calls.append((binary_pool.build(spec, parse_target(target_name)), arrays, spec.y, right))
    return calls


def shuffle_calls(target_name: str, rng: np.random.Generator) -> list[Call]:
    calls: list[Call] = []
    for channels, groups in ((8, 2), (96, 3), (58, 2), (240, 8)):
        image = Image(2, 3, word_count(channels), (0, 0, 1, 0))
        spec = BinaryShuffle(image, Image(2, 3, image.channels), channels, groups)
        words = pack_bits(rng.random((2, 3, channels)) < 0.5)
        function = binary_shuffle.build(spec, parse_target(target_name))
        calls.append((function, [image.embed(words, 0)], spec.y, binary_shuffle.reference(spec, words)))
    return calls


def prepared(target_name: str) -> tuple[list[object], list[tuple[str, list[np.ndarray]]], list[np.ndarray]]:
    """(functions, calls with their outputs, the right whole outputs)."""
    rng = np.random.default_rng(2)
    found = sign_pack_calls(target_name, rng) + pool_calls(target_name, rng) + shuffle_calls(target_name, rng)
    calls, right = [], []
    for function, arrays, image, expected in found:
        output = np.full(image.size, UNTOUCHED, np.uint32)
        calls.append((str(function.attrs["global_symbol"]), [aligned_copy(a) for a in (*arrays, output)]))  # type: ignore[attr-defined]
        right.append(image.embed(expected, UNTOUCHED))
    return [function for function, *_ in found], calls, right


@pytest.mark.parametrize("name", HOST_TARGETS)
def test_packed_operators_equal_their_references(name: str) -> None:
    if not runs_here(name):
        pytest.skip(f"this machine does not run {name}")
    functions, calls, right = prepared(name)
    library = HostLibrary(functions, parse_target(name))
    for (symbol, arrays), expected in zip(calls, right, strict=True):
        library.call(symbol, *arrays)
        np.testing.assert_array_equal(arrays[-1], expected, err_msg=symbol)


@pytest.mark.parametrize("name", CROSS_TARGETS)
def test_packed_operators_equal_their_references_under_emulation(name: str) -> None:
    target = parse_target(name)
    if not can_run(target):
        pytest.skip(f"no linker or emulator for {name}")
    functions, calls, right = prepared(name)
    run(functions, target, calls)
    for (symbol, arrays), expected in zip(calls, right, strict=True):
        np.testing.assert_array_equal(arrays[-1], expected, err_msg=symbol)


def test_bits_are_packed_least_significant_first_and_padded_with_zeros() -> None:
    bits = np.zeros(35, bool)
    bits[[0, 5, 32]] = True
    assert pack_bits(bits).tolist() == [1 | 1 << 5, 1]
    np.testing.assert_array_equal(unpack_bits(pack_bits(bits), 35), bits)
    assert pixel_fill(35, 1).tolist() == [0xFFFFFFFF, 0b111] and pixel_fill(35, -1).tolist() == [0, 0]


def test_weight_bytes_unpack_to_signs() -> None:
    packed = np.array([[[[0b101, 0b1]]]], np.uint8)
    assert unpack_weight_bytes(packed, 9).reshape(-1).tolist() == [1, -1, 1, -1, -1, -1, -1, -1, 1]
    assert signs(np.array([0b101], np.uint32), 3).tolist() == [1, -1, 1]


def test_images_that_do_not_match_are_refused() -> None:
    with pytest.raises(HwnasError, match="sign pack"):
        SignPack(Image(2, 2, 40), Image(2, 2, 1))
    with pytest.raises(HwnasError, match="max or min"):
        BinaryPool(Image(2, 2, 1), Image(1, 1, 1), Window((2, 2)), "mean")
    with pytest.raises(HwnasError, match="groups"):
        BinaryShuffle(Image(1, 1, 1), Image(1, 1, 1), 10, 3)
