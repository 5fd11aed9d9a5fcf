"""Whole nets over tensors that are no images: compiled, they give what ONNX Runtime gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.export.native.graph import read_graph
from hwnas.export.onnx import block_model
from hwnas.export.onnx_graph import End, Graph
from hwnas.measure.float_ends import with_float_ends
from hwnas.network import Layer, Operator, Port
from hwnas.ops import primitive_of
from hwnas.ops.primitive import Codes
from tests.exact import exact_session
from tests.native import encoder
from tests.native.differential import run_ends
from tests.ops.examples import LAYERS

SEED = 7


class _Net:
    """Nodes one after the other, with constants drawn at random."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(SEED)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, f"c{len(self.constants)}"))
        return self.constants[-1].name

    def weight(self, *shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        return self.constant((self.rng.standard_normal(shape) * fan_in**-0.5).astype(np.float32))

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def model(self, shape: Sequence[int], kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
        given = helper.make_tensor_value_info("x", kind, shape)
        result = helper.make_tensor_value_info(self.nodes[-1].output[0], TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "net", [given], [result], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def _compared(model: onnx.ModelProto, x: np.ndarray, share: float) -> None:
    (expected,) = exact_session(model).run(None, {model.graph.input[0].name: x})
    (found,) = run_ends(model, x)
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0.1, "the net says something"
    np.testing.assert_allclose(found, expected, rtol=0, atol=share * np.abs(expected).max())


def _encoder(precision: str) -> onnx.ModelProto:
    operator = Operator.of(encoder.__name__, (11, 24), (11, 24), precision)
    return with_float_ends(block_model(operator, seed=3), operator)


def test_a_float_encoder_block_equals_onnxruntime() -> None:
    _compared(_encoder("fp32"), np.random.default_rng(1).standard_normal((1, 11, 24)).astype(np.float32), 2e-5)


def test_an_int8_encoder_block_runs_on_codes_from_end_to_end() -> None:
    graph = read_graph(_encoder("int8"))
    assert not graph.declined
    kinds = [step.kind for step in graph.steps]
    assert {"matmul_int", "softmax_axis_int", "layer_norm_int", "conv_int", "lut", "add_int"} <= set(kinds)
    assert not [kind for kind in kinds if kind.endswith("_f32")]
    assert not {"to_image", "to_plain"} & set(kinds), "nothing is moved to an image and back"


def test_an_int8_encoder_block_gives_onnxruntimes_codes() -> None:
    """All but the norms bit for bit; ONNX Runtime normalises floats, whose edges may round to the neighbouring code."""
    _compared(_encoder("int8"), np.random.default_rng(2).standard_normal((1, 11, 24)).astype(np.float32), 0.02)


def test_a_sequence_of_convolutions_equals_onnxruntime() -> None:
    """Conv, Relu, pool, depthwise Conv, GELU, mean over time, dense."""
    net = _Net()
    x = net.add("Conv", "x", net.weight(12, 5, 3), net.weight(12), pads=[1, 1])
    x = net.add("MaxPool", net.add("Relu", x), kernel_shape=[2], strides=[2])
    x = net.add("Conv", x, net.weight(12, 1, 5), group=12, pads=[2, 2], dilations=[1])
    x = net.add("Gelu", net.add("Mul", x, net.constant(np.full((12, 1), 1.5, np.float32))))
    x = net.add("ReduceMean", x, net.constant(np.array([-1], np.int64)), keepdims=0)
    net.add("Softmax", net.add("Gemm", x, net.weight(4, 12), transB=1), axis=-1)
    _compared(net.model((1, 5, 30)), net.rng.standard_normal((1, 5, 30)).astype(np.float32), 2e-5)


def test_a_log_mel_front_end_equals_onnxruntime() -> None:
    """Frames by a strided Conv with windowed cosines and sines, power, mel bands, logarithm."""
    frame, hop, bands = 64, 32, 10
    bins, time = frame // 2 + 1, np.arange(frame)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * time / frame)
    angles = 2 * np.pi * np.arange(bins)[:, None] * time / frame
    waves = (np.concatenate([np.cos(angles), np.sin(angles)]) * window)[:, None].astype(np.float32)
    net = _Net()
    mel = np.abs(net.rng.standard_normal((bands, bins)))
    x = net.add("Reshape", "x", net.constant(np.array([1, 1, -1], np.int64)))
    x = net.add("Pow", net.add("Conv", x, net.constant(waves), strides=[hop]), net.constant(np.array(2, np.float32)))
    x = net.add("Conv", x, net.constant(np.concatenate([mel, mel], axis=1)[:, :, None].astype(np.float32)))
    x = net.add("Log", net.add("Add", x, net.constant(np.array(1e-6, np.float32))))
    mean = net.add("ReduceMean", x, net.constant(np.array([2], np.int64)))
    net.add("Sub", x, mean)
    _compared(net.model((1, 800)), (net.rng.standard_normal((1, 800)) * 0.1).astype(np.float32), 2e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_small_u_net_equals_onnxruntime(mode: str) -> None:
    """Down by a pool, up by a resize, the skip beside it."""
    net = _Net()
    skip = net.add("Relu", net.add("Conv", "x", net.weight(8, 3, 3, 3), net.weight(8), pads=[1] * 4))
    x = net.add("MaxPool", skip, kernel_shape=[2, 2], strides=[2, 2])
    x = net.add("Gelu", net.add("Conv", x, net.weight(16, 8, 3, 3), pads=[1] * 4))
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    x = net.add("Resize", x, "", scales, mode=mode, coordinate_transformation_mode="half_pixel")
    net.add("Conv", net.add("Concat", x, skip, axis=1), net.weight(2, 24, 1, 1))
    _compared(net.model((1, 3, 12, 10)), net.rng.standard_normal((1, 3, 12, 10)).astype(np.float32), 2e-5)


def test_tokens_become_rows_with_a_mean() -> None:
    net = _Net()
    x = net.add("Gather", net.weight(50, 16), "x", axis=0)
    x = net.add("Add", x, net.weight(9, 16))
    x = net.add("LayerNormalization", x, net.weight(16), net.weight(16), axis=-1)
    net.add("ReduceMean", x, net.constant(np.array([1], np.int64)), keepdims=0)
    _compared(net.model((1, 9), TensorProto.INT64), net.rng.integers(0, 50, (1, 9)), 2e-5)


KINDS = ("dense", "embedding", "gelu", "heads", "layer_norm", "log_mel", "matmul", "resize", "softmax")


@pytest.mark.parametrize("layer", [e for e in LAYERS if e.kind in KINDS], ids=lambda layer: layer.name)
def test_a_layer_of_every_kind_is_a_native_library_of_its_own(layer: Layer) -> None:
    """The ONNX that a layer exports, alone, from its own inputs to its output."""
    rng, primitive, graph = np.random.default_rng(2), primitive_of(layer.kind), Graph()
    arrays = [rng.standard_normal((1, *shape)).astype(np.float32) for shape in layer.in_shapes]
    if below := primitive.below(layer):
        arrays[0] = rng.integers(0, below, arrays[0].shape)
    names = [f"x{i}" for i in range(len(arrays))]
    codes = Codes((None,) * len(arrays), None)
    made = primitive.lower(layer, "layer", names, primitive.random(layer, rng), codes, graph)
    given = [End(n, n, x.dtype.name, Port(x.shape[1:], x.dtype.name)) for n, x in zip(names, arrays, strict=True)]
    model = graph.model(given, [End(made, "y", "float32", Port(layer.out_shape))], 1)
    (expected,) = exact_session(model).run(None, dict(zip(names, arrays, strict=True)))
    (found,) = run_ends(model, *arrays)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
