"""Whole nets as native libraries give what ONNX Runtime gives: the same bits for integers and for 1-bit streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from hwnas.errors import HwnasError
from hwnas.export.native import compile_onnx, load_native
from tests.native import nets

EXACT = (nets.int8_net, nets.squeeze_excite_int8_net, nets.binary_stream_net)
FLOAT = (nets.fp32_net, nets.bi_real_net)
# Both engines sum at most 324 float32 products of magnitude about 1, in different orders: each sum is off by at most
# 324 * 2^-24 of its magnitudes (2e-5), and the nets are a few layers deep.
TOLERANCE = 1e-4


@pytest.mark.parametrize("net", EXACT)
@pytest.mark.parametrize("target", ["host", "x86-avx2", "x86-ssse3"])
def test_integers_and_binary_streams_are_bit_equal_on_a_whole_set(
    net: Callable[[], onnx.ModelProto], target: str, tmp_path: Path, kernel_cache: Path
) -> None:
    _skip_unless_it_runs(target)
    model = net()
    batch = nets.images(model, 64)
    compile_onnx(model, target, tmp_path / "out", cache=kernel_cache)
    assert np.array_equal(load_native(tmp_path / "out")(batch), nets.run_onnx(model, batch))


@pytest.mark.parametrize("net", FLOAT)
def test_float_heads_agree_within_rounding(
    net: Callable[[], onnx.ModelProto], tmp_path: Path, kernel_cache: Path
) -> None:
    model = net()
    batch = nets.images(model, 32)
    compile_onnx(model, "host", tmp_path / "out", cache=kernel_cache)
    np.testing.assert_allclose(
        load_native(tmp_path / "out")(batch), nets.run_onnx(model, batch), atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize("size", [7, 18])
@pytest.mark.parametrize("width", [3, 21])
def test_odd_sizes_and_widths_are_bit_equal(size: int, width: int, tmp_path: Path, kernel_cache: Path) -> None:
    model = nets.int8_net(size, width, classes=3, seed=size * width)
    batch = nets.images(model, 16)
    compile_onnx(model, "host", tmp_path / "out", cache=kernel_cache)
    assert np.array_equal(load_native(tmp_path / "out")(batch), nets.run_onnx(model, batch))


def test_saturated_and_extreme_inputs_are_bit_equal(tmp_path: Path, kernel_cache: Path) -> None:
    model = nets.int8_net()
    shape = nets.images(model, 1).shape[1:]
    batch = np.stack([np.full(shape, v, np.float32) for v in (0.0, -0.0, 1e9, -1e9, 2.82, -2.28, 0.01, 0.03)])
    compile_onnx(model, "host", tmp_path / "out", cache=kernel_cache)
    assert np.array_equal(load_native(tmp_path / "out")(batch), nets.run_onnx(model, batch))


def test_a_value_at_the_threshold_counts_as_plus_one(tmp_path: Path, kernel_cache: Path) -> None:
    net = nets.Net(7)
    x = net.binary_conv("input", 40, 8, 3)
    model = net.model(x, (1, 40, 5, 5), (1, 8, 5, 5))
    threshold = onnx.numpy_helper.to_array(model.graph.initializer[0])
    exact = np.broadcast_to(threshold.reshape(1, 40, 1, 1), (1, 40, 5, 5)).copy()
    batch = np.concatenate([exact, np.nextafter(exact, np.float32(-9)), np.zeros_like(exact), -np.zeros_like(exact)])
    compile_onnx(model, "host", tmp_path / "out", cache=kernel_cache)
    assert np.array_equal(load_native(tmp_path / "out")(batch), nets.run_onnx(model, batch))


def test_what_lay_in_the_arena_before_does_not_matter(tmp_path: Path, kernel_cache: Path) -> None:
    model = nets.bi_real_net()
    batch = nets.images(model, 1)
    compile_onnx(model, "host", tmp_path / "out", cache=kernel_cache)
    native = load_native(tmp_path / "out")
    first = native(batch)
    for fill in (0x00, 0xFF, 0x7F):
        native._arena[:] = fill
        assert np.array_equal(native(batch), first)


def test_two_models_loaded_together_keep_apart(tmp_path: Path, kernel_cache: Path) -> None:
    loaded = []
    for seed in (1, 2):
        model = nets.int8_net(seed=seed)
        compile_onnx(model, "host", tmp_path / str(seed), cache=kernel_cache)
        loaded.append((load_native(tmp_path / str(seed)), model))
    batch = nets.images(loaded[0][1], 4)
    for native, model in loaded:
        assert np.array_equal(native(batch), nets.run_onnx(model, batch))


def test_signed_activations_are_bit_equal(tmp_path: Path, kernel_cache: Path) -> None:
    net = nets.Net(5)
    x = net.conv_int(net.quantise("input", 0.02, 114), 8, 16, 3, scale=0.05, zero_point=120)
    x = net.conv_int(x, 16, 16, 3, 2, group=16, scale=0.05, zero_point=128)
    x = net.gemm_int(net.flatten(net.op_int("GlobalAveragePool", [x], 0.02, 128)), 16, 5)
    model = _signed(net.model(x, (1, 8, 9, 9), (1, 5)))
    batch = nets.images(model, 16)
    compile_onnx(model, "host", tmp_path / "out", cache=kernel_cache)
    assert np.array_equal(load_native(tmp_path / "out")(batch), nets.run_onnx(model, batch))


def _signed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same codes less 128, as int8."""
    for item in model.graph.initializer:
        zero = onnx.numpy_helper.to_array(item)
        if zero.dtype == np.uint8 and zero.ndim == 0:
            moved = np.array(int(zero) - 128, np.int8)
            item.CopyFrom(onnx.numpy_helper.from_array(moved, item.name))
    return model


def test_an_artefact_exported_again_is_the_one_that_is_loaded(tmp_path: Path, kernel_cache: Path) -> None:
    for seed in (1, 2):
        model = nets.int8_net(12 + 4 * seed, seed=seed)
        compile_onnx(model, "host", tmp_path / "out", cache=kernel_cache)
        batch = nets.images(model, 2)
        assert np.array_equal(load_native(tmp_path / "out")(batch), nets.run_onnx(model, batch))


def test_an_input_of_another_shape_is_refused(tmp_path: Path, kernel_cache: Path) -> None:
    compile_onnx(nets.int8_net(), "host", tmp_path / "out", cache=kernel_cache)
    with pytest.raises(HwnasError, match=r"must be \[N, 3, 16, 16\]"):
        load_native(tmp_path / "out")(np.zeros((1, 3, 8, 8), np.float32))


def _skip_unless_it_runs(target: str) -> None:
    from hwnas.kernels.target import parse_target

    machine, here = parse_target(target), parse_target("host")
    if machine.arch != here.arch or not machine.features <= here.features:
        pytest.skip(f"this machine does not run {target}")
