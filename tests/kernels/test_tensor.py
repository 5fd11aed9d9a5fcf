"""Kernels over tensors of any rank equal their references: codes and moved data bit for bit, floats within the bound
that each reference argues."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.kernels import fp32_layer_norm, fp32_unary, int8_layer_norm, int8_matmul, resize
from hwnas.kernels.fp32_elementwise import Fp32Elementwise
from hwnas.kernels.fp32_reduce import Fp32Reduce
from hwnas.kernels.fp32_unary import Fp32Unary
from hwnas.kernels.gather_rows import GatherRows
from hwnas.kernels.image import Image
from hwnas.kernels.int8_layer_norm import Int8LayerNorm
from hwnas.kernels.int8_matmul import Int8MatMul
from hwnas.kernels.product import Product, product_of
from hwnas.kernels.rearrange import Copy, Rearrange, transposition
from hwnas.kernels.strides import broadcast_strides, merged
from hwnas.kernels.target import parse_target
from tests.kernels.tensor_grid import all_cases, tensor_case
from tests.kernels.test_int8 import CROSS_TARGETS, HOST_TARGETS, check_emulated, check_on_host, target_here


@pytest.mark.parametrize("name", HOST_TARGETS)
def test_a_seeded_grid_equals_the_references(name: str) -> None:
    target = target_here(name)
    check_on_host(all_cases(np.random.default_rng(23), target, 8), target)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CROSS_TARGETS)
def test_a_small_grid_equals_the_references_under_emulation(name: str) -> None:
    target = parse_target(name)
    check_emulated(all_cases(np.random.default_rng(24), target, 3), target)  # type: ignore[arg-type]


SPECIAL = {
    "exp": ([0, -1e4, 1e4, -np.inf, np.inf, np.nan], [1, 0, np.inf, 0, np.inf, np.nan]),
    "log": ([1, 0, -1, np.inf, np.nan, 1e-40], [0, -np.inf, np.nan, np.inf, np.nan, np.log(np.float32(1e-40))]),
    "gelu": ([0, -1e4, 1e4], [0, 0, 1e4]),
    "gelu_tanh": ([0, -1e15, 1e15], [0, 0, 1e15]),
    "erf": ([0, -1e9, 1e9], [0, -1, 1]),
    "tanh": ([0, -1e9, 1e9], [0, -1, 1]),
    "sqrt": ([0, 4, -1], [0, 2, np.nan]),
    "power": ([0, 4, -1], [0, 4**0.3, np.nan]),
}


@pytest.mark.parametrize("function", SPECIAL)
def test_functions_at_their_ends(function: str) -> None:
    target = parse_target("host")
    given, expected = (np.array(values, np.float32) for values in SPECIAL[function])
    for repeats in (1, 16):  # one element at a time, and vectors
        x, y = np.tile(given, repeats), np.tile(expected, repeats)
        case = tensor_case(
            fp32_unary, Fp32Unary(Image(1, 1, x.size), Image(1, 1, x.size), function, 0.3), target, [x], y, 1e-5
        )
        check_on_host([case], target)  # type: ignore[list-item]
        np.testing.assert_allclose(case.arguments[-1], y, 1e-6, 4e-7)


def test_layer_norm_by_hand() -> None:
    """Mean 2 and variance 1 of (1, 3): -1 and 1, times gamma, plus beta."""
    spec = fp32_layer_norm.Fp32LayerNorm(1, 2, 0.0)
    x, gamma, beta = (np.array(values, np.float32) for values in ([[1, 3]], [2, 3], [0, 10]))
    assert fp32_layer_norm.reference(spec, x, gamma, beta).tolist() == [[-2, 13]]
    eight = Int8LayerNorm(1, 2, 5)
    packed = int8_layer_norm.pack(eight, parse_target("host"), gamma, beta, 0.0, (0.5, 0.5))
    assert int8_layer_norm.reference(eight, np.array([[1, 3]], np.uint8), *packed).tolist() == [[5 - 4, 5 + 26]]


def test_an_int8_layer_norm_is_the_float_one_rounded() -> None:
    """Scale and zero point of the input matter through epsilon alone; a tie may fall to either side."""
    rng = np.random.default_rng(3)
    for scale, zero in ((0.02, 128), (0.0005, 3)):
        codes = rng.integers(0, 256, (6, 50)).astype(np.uint8)
        gamma, beta = rng.standard_normal((2, 50)).astype(np.float32)
        spec = Int8LayerNorm(6, 50, 120)
        packed = int8_layer_norm.pack(spec, parse_target("host"), gamma, beta, 1e-3, (scale, 0.03))
        got = int8_layer_norm.reference(spec, codes, *packed)
        real = fp32_layer_norm.Fp32LayerNorm(6, 50, 1e-3)
        x = (codes.astype(np.float32) - zero) * np.float32(scale)
        floats = fp32_layer_norm.reference(real, x, gamma, beta) / 0.03 + 120
        assert np.abs(got - np.clip(floats, 0, 255)).max() <= 0.501


def test_int8_matmul_equals_onnxruntime() -> None:
    """QLinearMatMul of two activations, every mix of signs that it takes, bit for bit."""
    ort = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    rng, types = np.random.default_rng(8), {False: TensorProto.UINT8, True: TensorProto.INT8}
    for signed in ((False, False, False), (False, True, False), (True, True, True)):
        zeros = tuple(int(rng.integers(-9, 9)) if sign else int(rng.integers(100, 150)) for sign in signed)
        a, b = (rng.integers(-20 if s else 100, 20 if s else 156, shape).astype(np.int8 if s else np.uint8)
                for s, shape in zip(signed, ((3, 5, 24), (3, 24, 7)), strict=False))  # fmt: skip
        scales = (0.03, 0.05, 0.09)
        constants = [helper.make_tensor(f"s{i}", TensorProto.FLOAT, (), [s]) for i, s in enumerate(scales)]
        constants += [
            helper.make_tensor(f"z{i}", types[s], (), [z]) for i, (s, z) in enumerate(zip(signed, zeros, strict=True))
        ]
        node = helper.make_node("QLinearMatMul", ["a", "s0", "z0", "b", "s1", "z1", "s2", "z2"], ["y"])
        ends = [
            helper.make_tensor_value_info(n, types[s], shape)
            for n, s, shape in zip("aby", signed, (a.shape, b.shape, (3, 5, 7)), strict=True)
        ]
        graph = helper.make_graph([node], "g", ends[:2], ends[2:], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        spec = Int8MatMul(product_of(a.shape, b.shape), zeros, signed)  # type: ignore[arg-type]
        packed = int8_matmul.pack(spec, parse_target("host"), scales)
        got = int8_matmul.reference(spec, a.reshape(-1), b.reshape(-1), *packed)
        np.testing.assert_array_equal(got, session.run(None, {"a": a, "b": b})[0])


def test_resize_equals_onnxruntime() -> None:
    """Every rule of positions and of rounding, growing and shrinking."""
    ort = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    rng = np.random.default_rng(4)
    for place in resize.POSITIONS:
        for mode, rounding in [("linear", "floor"), *(("nearest", r) for r in resize.ROUNDINGS)]:
            for height, width in ((9, 4), (3, 11), (1, 2)):
                x = rng.standard_normal((1, 2, 5, 6)).astype(np.float32)
                modes = {"mode": mode, "nearest_mode": rounding, "coordinate_transformation_mode": place}
                node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **modes)
                sizes = helper.make_tensor("sizes", TensorProto.INT64, (4,), [1, 2, height, width])
                ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
                ends += [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2, height, width))]
                graph = helper.make_graph([node], "g", ends[:1], ends[1:], [sizes])
                model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
                session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
                spec = resize.Resize(resize.Image(5, 6, 2), resize.Image(height, width, 2), mode)
                rows, columns = resize.positions(5, height, place), resize.positions(6, width, place)
                tables = resize.pack(spec, parse_target("host"), rows, columns, rounding)
                got = resize.reference(spec, x[0].transpose(1, 2, 0), *tables).transpose(2, 0, 1)
                expected = session.run(None, {"x": x})[0][0]
                np.testing.assert_allclose(got, expected, 1e-5, 1e-5, err_msg=f"{place} {mode} {rounding} {height}")


def test_axes_that_walk_as_one_are_joined() -> None:
    assert merged((2, 3, 4), (12, 4, 1), (12, 4, 1)) == ((24,), ((1,), (1,)))
    assert merged((2, 3, 4), (12, 4, 1), (0, 4, 1)) == ((2, 12), ((12, 1), (0, 1)))
    assert merged((1, 1), (1, 1)) == ((1,), ((1,),))
    assert broadcast_strides((3, 1), (2, 3, 4)) == (0, 1, 0)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a function by a wrong name": (lambda: Fp32Unary(Image(1, 1, 4), Image(1, 1, 4), "gelu_tan"), "gelu_tanh"),
    "shapes that do not broadcast": (lambda: Fp32Elementwise((2, 3), (2,)), "does not broadcast"),
    "inner sizes that differ": (lambda: product_of((2, 3), (4, 5)), "inner sizes must agree"),
    "a vector": (lambda: product_of((3,), (3, 5)), "two axes or more"),
    "strides too few": (lambda: Product((2,), 3, 4, 5, (4, 1), (20, 5, 1)), "strides"),
    "sums that overflow": (lambda: Int8MatMul(product_of((1, 40000), (40000, 1))), "overflow the int32"),
    "squares that overflow": (lambda: Int8LayerNorm(1, 40000), "overflow an int32"),
    "an axis twice": (lambda: Fp32Reduce((2, 3), (1, 1)), "once each"),
    "an empty table": (lambda: GatherRows(1, 0, 4, 2), "between 1 and"),
    "ids of floats": (lambda: GatherRows(1, 2, 4, 2, ids="float32"), "type of an id"),
    "a wrong order of axes": (lambda: transposition((2, 3), (0, 0), "uint8"), "each of 2 axes once"),
    "a copy beyond its tensor": (lambda: Rearrange((Copy((4,), 3, 0, (1,), 0, (1,)),), 4), "stay inside"),
    "an unknown position": (lambda: resize.positions(2, 4, "half_pixels"), "half_pixel"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_kernel_takes_is_refused(what: str) -> None:
    make, words = REFUSED[what]
    with pytest.raises(HwnasError) as refused:
        make()
    assert words in str(refused.value)
