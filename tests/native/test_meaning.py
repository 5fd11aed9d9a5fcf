"""A compiled model means what ONNX says: axes, broadcasts, scales, types and opsets are read, or refused by name."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import HwnasError
from hwnas.export.native.graph import read_graph
from tests.native.differential import run_native, run_onnx

IMAGE = (1, 3, 4, 5)


def model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray] | None = None,
    shape: tuple[int, ...] = IMAGE,
    opset: int = 21,
    extra: tuple[onnx.ValueInfoProto, ...] = (),
) -> onnx.ModelProto:
    """x -> nodes -> y."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape), *extra],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)])


def node(op: str, inputs: str, output: str = "y", **attributes: object) -> onnx.NodeProto:
    name = f"the_{op}" if output == "y" else f"the_{op}_{output}"
    return helper.make_node(op, inputs.split(), [output], name=name, **attributes)


def data(shape: tuple[int, ...] = IMAGE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32) * 2


def check(made: onnx.ModelProto, shape: tuple[int, ...] = IMAGE, atol: float = 1e-5) -> None:
    """The compiled model gives what ONNX Runtime gives for the model as it stands, unfused."""
    x = data(shape)
    found, expected = run_native(_renamed(made), x), run_onnx(_renamed(made), [x], optimised=False)[0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=atol, rtol=1e-5)


def _renamed(made: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with its input named as the runner names it."""
    text = onnx.ModelProto()
    text.CopyFrom(made)
    text.graph.input[0].name = "input"
    for item in text.graph.node:
        item.input[:] = ["input" if name == "x" else name for name in item.input]
    return text


def around(
    inner: onnx.NodeProto,
    zeros: tuple[np.generic, np.generic],
    scales: tuple[float, float] = (0.05, 0.04),
    constants: dict[str, np.ndarray] | None = None,
    before: tuple[onnx.NodeProto, ...] = (),
    **rest: object,
) -> onnx.ModelProto:
    """DQ -> the node (from `a` to `b`) -> Q, DQ."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s0", "z0"], ["xq"], name="q0"),
        helper.make_node("DequantizeLinear", ["xq", "s0", "z0"], ["a"], name="d0"),
        *before,
        inner,
        helper.make_node("QuantizeLinear", ["b", "s1", "z1"], ["bq"], name="q1"),
        helper.make_node("DequantizeLinear", ["bq", "s1", "z1"], ["y"], name="d1"),
    ]
    given = {"s0": np.float32(scales[0]), "z0": zeros[0], "s1": np.float32(scales[1]), "z1": zeros[1]}
    return model(nodes, {**given, **(constants or {})}, **rest)  # type: ignore[arg-type]


U8, I8 = np.uint8(120), np.int8(-5)


@pytest.mark.parametrize("op", ["Conv", "Gemm"])
@pytest.mark.parametrize("scale", [0.013, 1e-4])
def test_a_bias_with_a_scale_of_its_own_is_read_with_that_scale(op: str, scale: float) -> None:
    shape, size = (IMAGE, (5, 3, 1, 1)) if op == "Conv" else ((1, 3), (5, 3))
    random = np.random.default_rng(1)
    constants = {
        "w": random.integers(-60, 60, size).astype(np.int8),
        "ws": np.float32(0.01),
        "c": np.rint(random.normal(size=5) / scale).astype(np.int32),
        "cs": np.float32(scale),
    }
    before = (node("DequantizeLinear", "w ws", "wd"), node("DequantizeLinear", "c cs", "cd"))
    inner = node(op, "a wd cd", "b", **({} if op == "Conv" else {"transB": 1}))
    made = around(inner, (U8, U8), constants=constants, before=before, shape=shape)
    assert [s.kind for s in read_graph(made).steps] == ["quantize", "conv_int", "dequantize"]
    check(made, shape, atol=0.0401)  # one code: the bias is rounded to s_x * s_w


def test_a_bias_that_leaves_int32_is_added_in_float() -> None:
    constants = {
        "w": np.ones((2, 3, 1, 1), np.int8),
        "ws": np.float32(1e-9),
        "c": np.array([2.0, -1.5], np.float32),
    }
    inner = node("Conv", "a wd c", "b")
    made = around(inner, (U8, U8), constants=constants, before=(node("DequantizeLinear", "w ws", "wd"),))
    assert "conv_f32" in [s.kind for s in read_graph(made).steps]
    check(made, atol=0.0401)


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_float_weights_between_codes_run_in_float(op: str) -> None:
    inner = node(op, "a w", "b")
    constants = {"w": np.random.default_rng(2).normal(size=(6, 4)).astype(np.float32)}
    check(around(inner, (U8, U8), constants=constants, shape=(1, 6)), (1, 6), atol=0.0401)


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_the_bounds_of_an_old_clip_are_read(opset: int) -> None:
    check(model([node("Clip", "x", min=0.0, max=6.0)], opset=opset))
    check(model([node("Clip", "x", min=-0.5, max=0.5)], opset=opset))
    check(model([node("Clip", "x", min=0.3)], opset=opset))


@pytest.mark.parametrize("opset", [7, 11, 12, 13, 24])
@pytest.mark.parametrize("shape", [(1, 6), (1, 6, 1, 1), (1, 3, 4, 5)])
def test_softmax_runs_along_its_axis(opset: int, shape: tuple[int, ...]) -> None:
    for axis in (None, 1, -1, len(shape) - 1):
        made = model([node("Softmax", "x", **({} if axis is None else {"axis": axis}))], shape=shape, opset=opset)
        if axis == -1 and opset < 11:
            continue
        check(made, shape)


def test_a_reshape_of_a_vector_is_a_reshape() -> None:
    for target in ([2, 3], [3, 2], [6], [1, 1, 6], [1, 2, 3, 1], [1, -1], [0, -1], [1, 6, 1, 1], [-1, 6]):
        check(model([node("Relu", "x", "r"), node("Reshape", "r t")], {"t": np.array(target)}, (1, 6)), (1, 6))


@pytest.mark.parametrize("axis", [1, 0, -3, 2, 3, 4])
def test_flatten_reads_its_axis(axis: int) -> None:
    check(model([node("Relu", "x", "r"), node("Flatten", "r", axis=axis)]))


CHANNEL = [(3, 1, 1), (1, 3, 1, 1), (), (1,), (1, 1), (1, 1, 1, 1)]
SPATIAL = [(4, 1), (5,), (4, 5), (1, 1, 4, 5), (3, 4, 1), (3, 4, 5), (1, 5), (2, 3, 1, 1), (1, 1, 3, 1, 1)]


@pytest.mark.parametrize("op", ["Add", "Mul", "PRelu"])
@pytest.mark.parametrize("size", CHANNEL + SPATIAL)
def test_a_constant_is_broadcast_as_numpy_does_or_refused(op: str, size: tuple[int, ...]) -> None:
    made = model([node(op, "x c")], {"c": np.random.default_rng(3).normal(size=size).astype(np.float32)})
    if size in CHANNEL or op != "PRelu":
        check(made)
    else:
        with pytest.raises(HwnasError, match=f"{op}"):
            read_graph(made)


@pytest.mark.parametrize("square", [(1, 3, 3, 3), (1, 3, 1, 3), (1, 3, 3, 1)])
def test_a_constant_of_as_many_numbers_as_channels_along_the_width_is_not_one_a_channel(
    square: tuple[int, ...],
) -> None:
    for op in ("Add", "Mul", "PRelu"):
        for size in ((3,), (3, 1)):
            made = model([node(op, "x c")], {"c": np.array([1, 2, 3], np.float32).reshape(size)}, square)
            # right where the numbers do lie along the channels, or the height or width is 1
            if _reads(made):
                check(made, square)


def _reads(made: onnx.ModelProto) -> bool:
    try:
        read_graph(made)
    except HwnasError:
        return False
    return True


def test_two_activations_are_broadcast_as_numpy_does() -> None:
    pooled = [node("GlobalAveragePool", "x", "p")]
    for op in ("Add", "Mul"):
        check(model([*pooled, node(op, "x p")]))
        check(model([*pooled, node(op, "p x")]))
        flat = [*pooled, node("Flatten", "p", "v"), node(op, "x v")]
        check(model(flat, shape=(1, 3, 3, 3)), (1, 3, 3, 3))


@pytest.mark.parametrize("op", ["GlobalAveragePool", "Softmax"])
@pytest.mark.parametrize("zeros", [(U8, I8), (I8, U8), (I8, I8), (U8, U8)])
def test_codes_of_two_signednesses_are_read_as_what_they_are(op: str, zeros: tuple[np.generic, np.generic]) -> None:
    shape = IMAGE if op == "GlobalAveragePool" else (1, 7)
    inner = node(op, "a", "b", **({"axis": 1} if op == "Softmax" else {}))
    scale = 0.04 if op == "GlobalAveragePool" else 1 / 256
    check(around(inner, zeros, (0.05, scale), shape=shape), shape, atol=scale * 1.001)


@pytest.mark.parametrize("op", ["Add", "Mul", "AveragePool", "MaxPool", "Concat"])
@pytest.mark.parametrize("zeros", [(U8, I8), (I8, U8), (I8, I8)])
def test_int8_codes_are_right_in_every_operator(op: str, zeros: tuple[np.generic, np.generic]) -> None:
    attributes = {"Concat": {"axis": 1}}.get(op, {"kernel_shape": [2, 2]} if "Pool" in op else {})
    inner = node(op, "a" if "Pool" in op else "a a", "b", **attributes)
    check(around(inner, zeros, (0.05, 0.07)), atol=0.0701)


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.UINT8])
def test_output_dtype_without_a_zero_point_is_read(kind: int) -> None:
    quantised = helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="the_q", output_dtype=kind)
    check(model([quantised, node("DequantizeLinear", "q s")], {"s": np.float32(0.03)}))


def test_codes_dequantised_with_another_scale_mean_other_numbers() -> None:
    constants = {"s": np.float32(0.03), "z": U8, "t": np.float32(0.05), "u": np.uint8(100)}
    check(model([node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q t u")], constants))


@pytest.mark.parametrize(
    "kind", [TensorProto.INT16, TensorProto.UINT16, TensorProto.INT4, TensorProto.FLOAT8E4M3FN, TensorProto.UINT4]
)
def test_codes_of_other_types_are_refused(kind: int) -> None:
    quantised = helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="the_q", output_dtype=kind)
    with pytest.raises(HwnasError, match="the_q"):
        read_graph(model([quantised, node("DequantizeLinear", "q s")], {"s": np.float32(0.03)}))


@pytest.mark.parametrize("scale", [0.0, -0.1, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    made = around(node("Relu", "a", "b"), (U8, U8), (scale, 0.1))
    with pytest.raises(HwnasError, match=r"q0.*scale that is not above 0"):
        read_graph(made)


def test_scales_a_block_and_scales_a_channel_of_an_activation_are_refused() -> None:
    blocks = {"w": np.ones((3, 4), np.int8), "s": np.ones((3, 2), np.float32)}
    dequantised = node("DequantizeLinear", "w s", "d", axis=1, block_size=2)
    with pytest.raises(HwnasError, match=r"the_DequantizeLinear.*block_size=2"):
        read_graph(model([dequantised, node("MatMul", "x d")], blocks, (1, 3)))
    scales = {"s": np.ones(3, np.float32), "z": np.zeros(3, np.uint8)}
    with pytest.raises(HwnasError, match="the_QuantizeLinear"):
        read_graph(model([node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z")], scales))


@pytest.mark.parametrize("bias", [(4,), (1, 4), (1,), (), (1, 1)])
def test_gemm_reads_alpha_beta_and_any_bias(bias: tuple[int, ...]) -> None:
    random = np.random.default_rng(4)
    constants = {"w": random.normal(size=(6, 4)).astype(np.float32), "c": np.float32(random.normal(size=bias))}
    check(model([node("Gemm", "x w c", alpha=0.5, beta=3.0)], constants, (1, 6)), (1, 6))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("op", ["Conv", "AveragePool", "MaxPool"])
def test_automatic_padding_is_made_explicit(op: str, mode: str) -> None:
    constants = {"w": np.random.default_rng(5).normal(size=(2, 3, 2, 3)).astype(np.float32)} if op == "Conv" else {}
    window = {"kernel_shape": [2, 3], "strides": [2, 1], "auto_pad": mode}
    check(model([node(op, "x w" if op == "Conv" else "x", **window)], constants))


def test_an_output_that_is_also_read_inside_is_whole() -> None:
    weight = {"w": np.random.default_rng(6).normal(size=(3, 3, 3, 3)).astype(np.float32)}
    made = model(
        [node("GlobalAveragePool", "x", "p"), node("Relu", "p", "y"), node("Conv", "y w", "unused", pads=[1] * 4)],
        weight,
    )
    check(made)
    check(model([node("GlobalAveragePool", "x", "p"), node("Conv", "p w", pads=[1] * 4)], weight))
    check(model([node("Conv", "x w", pads=[1] * 4)], weight, (1, 3, 1, 1)), (1, 3, 1, 1))


def test_a_second_output_that_is_used_is_refused() -> None:
    pool = helper.make_node("MaxPool", ["x"], ["m", "places"], name="the_MaxPool", kernel_shape=[2, 2])
    with pytest.raises(HwnasError):
        read_graph(model([pool, node("Cast", "places", to=1)]))
    dropout = helper.make_node("Dropout", ["x", "r", "t"], ["y"], name="the_Dropout")
    with pytest.raises(HwnasError, match="training_mode"):
        read_graph(model([dropout], {"r": np.float32(0.5), "t": np.array(True)}))


def test_an_initializer_that_is_also_an_input_is_a_constant() -> None:
    extra = (helper.make_tensor_value_info("c", TensorProto.FLOAT, (3, 1, 1)),)
    made = model([node("Add", "x c")], {"c": np.ones((3, 1, 1), np.float32)}, extra=extra)
    x = data()
    assert np.array_equal(run_native(made, x), x + 1)


def test_what_the_model_says_about_a_shape_must_be_true() -> None:
    made = model([node("Relu", "x", "r"), node("Sigmoid", "r")])
    made.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, (1, 3, 5, 4)))
    with pytest.raises(HwnasError, match="onnx cannot infer"):
        read_graph(made)
