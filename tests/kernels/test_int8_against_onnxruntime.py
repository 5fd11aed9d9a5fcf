"""The references of the INT8 kernels are ONNX Runtime's QLinear operators, bit for bit.

Every case is a QDQ model that ONNX Runtime must fuse to the named operator; scales include exact powers of two,
where ties of the rounding are common. The kernels equal the references by test_int8.py.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.kernels import (
    int8_add,
    int8_average_pool,
    int8_conv,
    int8_global_pool,
    int8_mul,
    int8_softmax,
    lut256,
    max_pool,
)
from hwnas.kernels.image import Image, Window
from hwnas.kernels.quantize import Quantize
from hwnas.kernels.quantize import reference as quantized
from hwnas.kernels.target import parse_target
from tests.exact import exact_options

HEIGHT, WIDTH, CHANNELS = 7, 9, 18
IMAGE, ONE = Image(HEIGHT, WIDTH, CHANNELS), Image(1, 1, CHANNELS)


class Draw:
    """Random tensors, scales and zero points."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def bytes(self, *shape: int) -> np.ndarray:
        return self.rng.choice(np.array([0, 255, *range(256)], np.uint8), shape)

    def scales(self, count: int) -> list[float]:
        """Sometimes powers of two times one number, so that results fall exactly between integers."""
        if self.rng.integers(2):
            return [float(np.float32(0.0125 * 2.0 ** int(self.rng.integers(-2, 3)))) for _ in range(count)]
        return [float(np.float32(scale)) for scale in self.rng.uniform(0.003, 0.06, count)]

    def zero_points(self, count: int) -> list[int]:
        return [int(zero) for zero in self.rng.choice([0, 255, 128, *range(256)], count)]


def run(
    nodes: list[Any], values: dict[str, Any], inputs: dict[str, np.ndarray], shape: tuple[int, ...], fused: str
) -> np.ndarray:
    """The output `y` (u8) of a model, after a check that ONNX Runtime runs it as `fused`."""
    kinds = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.float32): TensorProto.FLOAT}
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info(name, kinds[x.dtype], x.shape) for name, x in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = exact_options()
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/optimised.onnx"
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        operators = {node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node}
    assert fused in operators
    return np.asarray(session.run(None, inputs)[0])


def qdq(
    operator: str,
    inputs: list[np.ndarray],
    scales: list[float],
    zeros: list[int],
    shape: tuple[int, ...],
    fused: str,
    **attributes: Any,
) -> np.ndarray:
    """DequantizeLinear on every input, the operator, QuantizeLinear; the last scale and zero point are the output's."""
    nodes, values, names = [], {"sy": np.float32(scales[-1]), "zy": np.uint8(zeros[-1])}, []
    for i in range(len(inputs)):
        values |= {f"s{i}": np.float32(scales[i]), f"z{i}": np.uint8(zeros[i])}
        nodes.append(helper.make_node("DequantizeLinear", [f"x{i}", f"s{i}", f"z{i}"], [f"d{i}"]))
        names.append(f"d{i}")
    nodes.append(helper.make_node(operator, names, ["o"], **attributes))
    nodes.append(helper.make_node("QuantizeLinear", ["o", "sy", "zy"], ["y"]))
    return run(nodes, values, {f"x{i}": x for i, x in enumerate(inputs)}, shape, fused)


def nchw(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])


def nhwc(y: np.ndarray) -> np.ndarray:
    return y[0].transpose(1, 2, 0)


@pytest.mark.parametrize("seed", range(12))
def test_add_and_mul_equal_qlinear(seed: int) -> None:
    draw = Draw(seed)
    scales, zeros = draw.scales(3), draw.zero_points(3)
    a, b, gate = draw.bytes(*IMAGE.shape), draw.bytes(*IMAGE.shape), draw.bytes(1, 1, CHANNELS)
    shape = (1, CHANNELS, HEIGHT, WIDTH)
    y = qdq("Add", [nchw(a), nchw(b)], scales, zeros, shape, "QLinearAdd")
    constants = int8_add.ratios((scales[0], scales[1], scales[2]), (zeros[0], zeros[1], zeros[2]))
    np.testing.assert_array_equal(nhwc(y), int8_add.reference(int8_add.Int8Add(IMAGE, IMAGE, IMAGE), a, b, constants))
    for other, image in ((b, IMAGE), (gate, ONE)):
        y = qdq("Mul", [nchw(a), nchw(other)], scales, zeros, shape, "QLinearMul")
        spec = int8_mul.Int8Mul(IMAGE, image, IMAGE, zeros[0], zeros[1], zeros[2])
        ratio = int8_mul.ratio((scales[0], scales[1], scales[2]))
        np.testing.assert_array_equal(nhwc(y), int8_mul.reference(spec, a, other, ratio))


@pytest.mark.parametrize("seed", range(8))
def test_pools_equal_qlinear(seed: int) -> None:
    draw = Draw(100 + seed)
    scales, zeros, x = draw.scales(2), draw.zero_points(2), draw.bytes(*IMAGE.shape)
    y = qdq("GlobalAveragePool", [nchw(x)], scales, zeros, (1, CHANNELS, 1, 1), "QLinearGlobalAveragePool")
    pool = int8_global_pool.Int8GlobalPool(IMAGE, ONE, zeros[0], zeros[1])
    expected = int8_global_pool.reference(pool, x, int8_global_pool.scale_of(pool, *scales))
    np.testing.assert_array_equal(nhwc(y), expected)
    window = [Window((2, 2), (2, 2)), Window((3, 3), (1, 2), (1, 1, 1, 1))][seed % 2]
    out = Image(*window.result(HEIGHT, WIDTH), CHANNELS)
    attributes: dict[str, Any] = {"kernel_shape": window.kernel, "strides": window.stride, "pads": window.padding}
    shape, include = (1, CHANNELS, out.height, out.width), seed % 4 > 1
    y = qdq(
        "AveragePool",
        [nchw(x)],
        scales,
        zeros,
        shape,
        "QLinearAveragePool",
        count_include_pad=int(include),
        **attributes,
    )
    mean = int8_average_pool.Int8AveragePool(IMAGE, out, window, include, zeros[0], zeros[1])
    expected = int8_average_pool.reference(mean, x, np.array(scales, np.float32))
    np.testing.assert_array_equal(nhwc(y), expected)
    same = [scales[0], scales[0]], [zeros[0], zeros[0]]
    y = qdq("MaxPool", [nchw(x)], *same, shape, "MaxPool", **attributes)
    np.testing.assert_array_equal(nhwc(y), max_pool.reference(max_pool.MaxPool(IMAGE, out, window), x))


@pytest.mark.parametrize("seed", range(4))
def test_tables_softmax_and_concat_equal_onnxruntime(seed: int) -> None:
    draw = Draw(200 + seed)
    scales, zeros, x = draw.scales(3), draw.zero_points(3), draw.bytes(*IMAGE.shape)
    shape = (1, CHANNELS, HEIGHT, WIDTH)
    cases: list[tuple[str, str, str, dict[str, float]]] = [
        ("Sigmoid", "sigmoid", "QLinearSigmoid", {}),
        ("HardSwish", "hard_swish", "QuantizeLinear", {}),
        ("HardSigmoid", "hard_sigmoid", "QuantizeLinear", {"alpha": 1 / 6, "beta": 0.5}),
        ("Relu", "relu", "QuantizeLinear", {}),
    ]
    for operator, name, fused, attributes in cases:
        y_scale, y_zero = (1 / 256, 0) if "igmoid" in operator else (scales[1], zeros[1])
        y = qdq(operator, [nchw(x)], [scales[0] * 2, y_scale], [zeros[0], y_zero], shape, fused, **attributes)
        entries = lut256.table(name, scales[0] * 2, zeros[0], y_scale, y_zero)
        np.testing.assert_array_equal(nhwc(y), entries[x], err_msg=operator)
    y = qdq("Softmax", [nchw(x)], [scales[0], 1 / 256], [zeros[0], 3], shape, "QLinearSoftmax", axis=1)
    soft = int8_softmax.Int8Softmax(IMAGE, IMAGE, 3)
    constants = int8_softmax.pack(soft, parse_target("host"), scales[0], 1 / 256)
    np.testing.assert_array_equal(nhwc(y), int8_softmax.reference(soft, x, *constants))
    other = draw.bytes(*IMAGE.shape)
    y = qdq("Concat", [nchw(x), nchw(other)], scales, zeros, (1, 2 * CHANNELS, HEIGHT, WIDTH), "QLinearConcat", axis=1)
    tables = [lut256.table("identity", scales[i], zeros[i], scales[2], zeros[2]) for i in range(2)]
    np.testing.assert_array_equal(nhwc(y), np.concatenate([tables[0][x], tables[1][other]], axis=2))


def weighted(
    draw: Draw, operator: str, x: np.ndarray, weight: np.ndarray, shape: tuple[int, ...], fused: str, **attributes: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """(ONNX Runtime's answer, bias, scale, input's zero point, output's) of a quantised Conv or Gemm."""
    (s_x, s_y), (z_x, z_y), outputs = draw.scales(2), draw.zero_points(2), weight.shape[0]
    s_y *= float(np.sqrt(weight[0].size))
    s_w = np.asarray(draw.rng.uniform(0.001, 0.02, outputs), np.float32)
    bias = np.asarray(draw.rng.integers(-20000, 20000, outputs), np.int32)
    zeros = np.zeros(outputs, np.int8)
    values = {
        "sx": np.float32(s_x),
        "zx": np.uint8(z_x),
        "w": weight,
        "sw": s_w,
        "zw": zeros,
        "b": bias,
        "sb": s_w * np.float32(s_x),
        "zb": zeros.astype(np.int32),
        "sy": np.float32(s_y),
        "zy": np.uint8(z_y),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "sx", "zx"], ["dx"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["dw"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "sb", "zb"], ["db"], axis=0),
        helper.make_node(operator, ["dx", "dw", "db"], ["o"], **attributes),
        helper.make_node("QuantizeLinear", ["o", "sy", "zy"], ["y"]),
    ]
    scale = np.asarray(s_w * np.float32(s_x) / np.float32(s_y), np.float32)
    return run(nodes, values, {"x": x}, shape, fused), bias, scale, z_x, z_y


@pytest.mark.parametrize(("groups", "outputs", "kernel"), [(1, 21, 3), (1, 33, 1), (CHANNELS, CHANNELS, 3), (3, 12, 3)])
def test_convolution_equals_qlinear(groups: int, outputs: int, kernel: int) -> None:
    draw = Draw(300 + outputs)
    x = draw.bytes(*IMAGE.shape)
    weight = draw.rng.integers(-128, 128, (outputs, CHANNELS // groups, kernel, kernel)).astype(np.int8)
    pad = (kernel // 2,) * 4
    y, bias, scale, z_x, z_y = weighted(
        draw,
        "Conv",
        nchw(x),
        weight,
        (1, outputs, HEIGHT, WIDTH),
        "QLinearConv",
        group=groups,
        pads=pad,
        kernel_shape=[kernel] * 2,
    )
    source = Image(HEIGHT, WIDTH, CHANNELS, pad)
    window = Window((kernel, kernel), (1, 1), pad)
    spec = int8_conv.Int8Conv(source, Image(HEIGHT, WIDTH, outputs), window, groups, z_y)
    np.testing.assert_array_equal(nhwc(y), int8_conv.reference(spec, x, weight, bias, scale, z_x))


def test_dense_equals_qgemm() -> None:
    draw = Draw(400)
    x = draw.bytes(1, 133)
    weight = draw.rng.integers(-128, 128, (37, 133)).astype(np.int8)
    y, bias, scale, z_x, z_y = weighted(draw, "Gemm", x, weight, (1, 37), "QGemm", transB=1)
    spec = int8_conv.Int8Conv(Image(1, 1, 133), Image(1, 1, 37), y_zero_point=z_y)
    expected = int8_conv.reference(spec, x[:, None], weight[:, :, None, None], bias, scale, z_x)
    np.testing.assert_array_equal(y[:, None], expected)


@pytest.mark.parametrize("zero_point", [0, 7, 128, 255])
def test_quantize_equals_onnxruntime_at_ties_and_extremes(zero_point: int) -> None:
    scale = np.float32(0.25)
    special = [k * 0.125 for k in range(-40, 41)] + [1e9, -1e9, 3e38, -3e38, 1e-40]
    x = np.resize(np.array(special, np.float32), (1, CHANNELS, HEIGHT, WIDTH))
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    y = run([node], {"s": scale, "z": np.uint8(zero_point)}, {"x": x}, x.shape, "QuantizeLinear")
    with np.errstate(over="ignore"):
        expected = quantized(Quantize(IMAGE, IMAGE, zero_point), nhwc(x), float(scale))
    np.testing.assert_array_equal(nhwc(y), expected)
