"""The ONNX files: valid, deterministic, and the same numbers as the reference in ONNX Runtime."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from hwnas.export.onnx import block_net, network_model, to_onnx
from hwnas.export.quantise import QuantisedNet, calibrate, fold
from hwnas.network import Network, Node, Operator
from hwnas.ops.numeric.bits import pack_signs, unpack_signs
from tests.exact import exact_session
from tests.export.nets import images, network, parameters
from tests.ops.examples import blocks


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return run_named(model, {"input": x})


def run_named(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """One example after another, since the model's batch is 1."""
    session, count = exact_session(model), len(next(iter(inputs.values())))
    given = [{name: values[i : i + 1] for name, values in inputs.items()} for i in range(count)]
    return np.concatenate([session.run(None, one)[0] for one in given])


@pytest.mark.parametrize("operator", blocks(), ids=str)
def test_a_block_model_is_valid_and_runs_as_the_reference(operator: Operator) -> None:
    net = block_net(operator)
    model = to_onnx(net)
    onnx.checker.check_model(model, full_check=True)
    rng = np.random.default_rng(0)
    inputs = {}
    for name, port in net.network.inputs.items():
        shape = (2, *port.shape)
        if port.dtype == "int64":
            inputs[name] = rng.integers(0, operator["vocabulary"], shape)
        elif name in net.codes:
            inputs[name] = rng.integers(0, 256, shape).astype(np.uint8)
        else:
            inputs[name] = rng.standard_normal(shape).astype(np.float32)
    found, expected = run_named(model, inputs), net(inputs)
    assert found.dtype == expected.dtype
    if net.is_exact:
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "ends"), [("int8", "int8"), ("fp32", "int8"), ("w1a1", "int8"), ("w1a1", "fp32")]
)
def test_a_whole_network_is_valid_at_any_batch(precision: str, ends: str) -> None:
    net = network(precision, ends)
    quantised = calibrate(fold(net, parameters(net)), images(16))
    x = images(20, seed=1)
    expected = quantised(x)
    one, many = to_onnx(quantised), to_onnx(quantised, batch=None)
    for model in (one, many):
        onnx.checker.check_model(model, full_check=True)
        assert [model.graph.input[0].name, model.graph.output[0].name] == ["input", "output"]
        assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    session = exact_session(many)
    for found in (run(one, x), session.run(None, {"input": x})[0]):
        if quantised.is_exact:
            np.testing.assert_array_equal(found, expected)
        else:  # a float sum beside a threshold may fall on its other side
            assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.9


def test_equal_networks_give_equal_bytes() -> None:
    net = network("w1a1", "int8")
    first, second = (
        to_onnx(calibrate(fold(net, parameters(net)), images(8))).SerializeToString(deterministic=True)
        for _ in range(2)
    )
    assert first == second
    assert network_model(net, 3).SerializeToString() == network_model(net, 3).SerializeToString()
    assert network_model(net, 3).SerializeToString() != network_model(net, 4).SerializeToString()


def _binary_block(channels: int, outputs: int, groups_free_threshold: np.ndarray) -> QuantisedNet:
    operator = Operator.of(
        "conv_bn_act", (channels, 5, 5), (outputs, 5, 5), "w1a1", kernel=3, stride=1, activation="none"
    )
    net = block_net(operator)
    tensors = dict(net.tensors["block.conv"], threshold=groups_free_threshold)
    return QuantisedNet(Network.chain([Node("block", operator)]), {"block.conv": tensors}, {})


def test_binary_conv_is_exact_at_the_threshold_and_at_the_border() -> None:
    thresholds = np.array([0.0, -0.5, 1.25, 0.0, 3.0], np.float32)
    net = _binary_block(5, 3, thresholds)
    rng = np.random.default_rng(0)
    # Values are thresholds, their float neighbours, and both zeros.
    around = np.concatenate([thresholds, np.nextafter(thresholds, -9), np.nextafter(thresholds, 9), [-0.0]])
    x = rng.choice(around.astype(np.float32), (30, 5, 5, 5))
    np.testing.assert_array_equal(run(to_onnx(net), x), net(x))
    # By hand: one pixel of an all-on input at the corner sees a 2 x 2 window per channel, the rest is exactly zero.
    tensors = net.tensors["block.conv"]
    weight = unpack_signs(tensors["weight"], 5).astype(np.float32)
    on = np.full((1, 5, 5, 5), 9.0, np.float32)
    corner = weight[:, :, 1:, 1:].sum(axis=(1, 2, 3)) * tensors["scale"] + tensors["bias"]
    np.testing.assert_array_equal(run(to_onnx(net), on)[0, :, 0, 0], corner)


def test_one_bit_weights_take_one_bit_in_the_file_and_are_unpacked_when_it_loads(tmp_path: object) -> None:
    operator = Operator.of("bireal", (64, 8, 8), (64, 8, 8), "w1a1", kernel=3, stride=1)
    model = to_onnx(block_net(operator))
    sizes = {init.name: len(init.raw_data) for init in model.graph.initializer}
    assert sizes["block.conv.weight"] == 64 * 9 * 64 // 8
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = f"{tmp_path}/optimised.onnx"
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    left = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert left == ["GreaterOrEqual", "Where", "ConvInteger", "Cast", "Mul", "Add", "Add", "PRelu"]


@pytest.mark.parametrize("channels", [1, 7, 8, 9, 65])
def test_packing_signs_is_undone_by_unpacking(channels: int) -> None:
    weight = np.random.default_rng(0).standard_normal((4, channels, 3, 3))
    weight[0, 0] = 0.0  # zero is +1
    packed = pack_signs(weight)
    assert packed.shape == (4, 3, 3, -(-channels // 8))
    np.testing.assert_array_equal(unpack_signs(packed, channels), np.where(weight >= 0, 1, -1))


def test_int8_operators_are_fused_by_onnx_runtime(tmp_path: object) -> None:
    net = network("int8", "int8")
    model = to_onnx(calibrate(fold(net, parameters(net)), images(8)))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = f"{tmp_path}/optimised.onnx"
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    left = {node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node}
    assert {"QLinearConv", "QLinearAdd", "QGemm", "QLinearGlobalAveragePool", "QLinearMul"} <= left
    assert not {"Conv", "Gemm", "Add", "GlobalAveragePool"} & left


def test_building_a_model_loads_no_torch() -> None:
    code = (
        "import sys; from hwnas.network import Operator; from hwnas.export.onnx import block_model;"
        "block_model(Operator.of('bireal', (8, 4, 4), (8, 4, 4), 'int8', kernel=3, stride=1));"
        "sys.exit('torch' in sys.modules or 'onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
