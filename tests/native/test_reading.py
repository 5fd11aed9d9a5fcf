"""Reading ONNX: what is fused, and what is refused with the node, the operator and the nearest supported form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hwnas.errors import HwnasError
from hwnas.export.native.activations import table
from hwnas.export.native.fuse import fuse
from hwnas.export.native.graph import load_model, read_graph
from tests.native import nets


def kinds(model: onnx.ModelProto) -> list[str]:
    return [step.kind for step in fuse(read_graph(model)).steps]


def tiny(op: str, input_shape: tuple[object, ...] = (1, 4, 8, 8), **attributes: object) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(op, ["input"], ["output"], name="the_node", **attributes)],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", nets.OPSET)], ir_version=10)


def test_an_integer_net_becomes_integer_steps_only() -> None:
    assert kinds(nets.int8_net()) == [
        "quantize",
        "conv_int",
        "conv_int",
        "conv_int",
        "conv_int",
        "add_int",
        "conv_int",
        "conv_int",
        "conv_int",
        "global_average_int",
        "conv_int",
        "dequantize",
    ]


def test_a_binary_block_is_one_step_that_also_packs_the_next_signs() -> None:
    graph = fuse(read_graph(nets.bi_real_net()))
    blocks = [step for step in graph.steps if step.kind == "binary_conv"]
    assert [len(step.outputs) for step in blocks] == [2, 2, 2, 1, 1]
    assert ["slope" in step.constants for step in blocks] == [True, True, True, False, False]
    assert [step.kind for step in graph.steps].count("sign_pack") == 1
    assert not [step for step in graph.steps if step.kind in ("add_f32", "activation_f32")]


@pytest.mark.parametrize("net", [nets.int8_net, nets.fp32_net, nets.bi_real_net])
def test_constants_may_come_from_constant_nodes(net: Callable[[], onnx.ModelProto]) -> None:
    model = net()
    given = read_graph(model)
    held = [onnx.helper.make_node("Constant", [], [item.name], value=item) for item in model.graph.initializer]
    nodes = [*held, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    found = read_graph(model)
    assert [step.kind for step in found.steps] == [step.kind for step in given.steps]
    for one, other in zip(found.steps, given.steps, strict=True):
        assert one.constants.keys() == other.constants.keys()
        assert all(np.array_equal(one.constants[name], other.constants[name]) for name in one.constants)


def test_float_activations_and_residuals_are_part_of_the_convolution() -> None:
    steps = fuse(read_graph(nets.fp32_net())).steps
    assert [s.text("activation") for s in steps if s.kind == "conv_f32"] == [
        "hardswish",
        "relu",
        "relu",
        "relu",
        "",
        "",
        "",
    ]
    assert [len(s.inputs) for s in steps if s.kind == "conv_f32"] == [1, 1, 1, 1, 1, 2, 1]


@pytest.mark.parametrize(
    ("operator", "nearest"), [("Selu", "Relu"), ("BatchNormalization", "folded"), ("Mish", "HardSwish")]
)
def test_an_unsupported_operator_is_named_with_its_node_and_the_nearest_form(operator: str, nearest: str) -> None:
    with pytest.raises(HwnasError, match=r"the_node.*no kernel covers operator") as caught:
        read_graph(tiny(operator))
    assert operator in str(caught.value) and any(nearest in form for form in caught.value.nearest)


@pytest.mark.parametrize("shape", [(None, 4, 8, 8), (2, 4, 8, 8), (2, 4, 8), ("N", 4, 8, 8)])
def test_an_input_that_is_not_static_or_not_of_batch_1_is_refused(shape: tuple[object, ...]) -> None:
    with pytest.raises(HwnasError, match="input 'input' has shape"):
        read_graph(tiny("Relu", shape))


@pytest.mark.parametrize(
    "change",
    [
        lambda node: node.attribute.append(helper.make_attribute("ceil_mode", 1)),
        lambda node: node.attribute.append(helper.make_attribute("pads", [3, 0, 3, 0])),
    ],
)
def test_a_window_that_no_kernel_has_is_refused(change: Callable[[onnx.NodeProto], None]) -> None:
    model = tiny("AveragePool", kernel_shape=[3, 3], strides=[2, 2])
    change(model.graph.node[0])
    with pytest.raises(HwnasError, match=r"the_node.*AveragePool"):
        read_graph(model)


def test_an_output_of_codes_says_what_they_mean() -> None:
    net = nets.Net()
    x = net.quantise("input", 0.1, 10)
    model = net.model(x, (1, 3, 4, 4), (1, 3, 4, 4))
    del model.graph.node[-1]
    model.graph.node[-1].output[0] = "output"
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    graph = read_graph(model)
    (end,) = graph.outputs
    assert (end.type, end.scale, end.zero_point) == ("uint8", float(np.float32(0.1)), 10)
    assert [step.kind for step in graph.steps] == ["quantize", "to_plain"], "the caller gets them in ONNX's order"


def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="is not a file"):
        load_model(tmp_path / "absent.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(HwnasError, match="is not an ONNX model"):
        load_model(tmp_path / "broken.onnx")


def test_a_table_holds_the_quantised_function_of_every_byte() -> None:
    found = table(lambda x: np.maximum(x, np.float32(0)), ("u8", "u8"), (0.5, 0.25), (128, 3))
    expected = [min(255, round(max(0.0, (q - 128) * 0.5) / 0.25) + 3) for q in range(256)]
    assert found.tolist() == expected


def test_of_two_producers_of_a_sum_the_binary_one_takes_it() -> None:
    net = nets.Net(9)
    x = net.conv("input", 3, 32, 3)
    y = net.node("Add", [net.binary_conv(x, 32, 64, 3), net.conv(x, 32, 64, 1)])
    y = net.binary_conv(net.prelu(y, 64), 64, 64, 3)
    steps = fuse(read_graph(net.model(y, (1, 3, 8, 8), (1, 64, 8, 8)))).steps
    assert [step.kind for step in steps] == [
        "to_nhwc", "conv_f32", "sign_pack", "conv_f32", "binary_conv", "binary_conv", "to_nchw",
    ]  # fmt: skip
    assert steps[4].attributes["residual_first"] is True


@pytest.mark.parametrize("net", [nets.int8_net, nets.fp32_net, nets.bi_real_net])
def test_a_weight_that_does_not_fit_its_input_is_refused(net: Callable[[], onnx.ModelProto]) -> None:
    model = net()
    users = {node.input[1]: node for node in model.graph.node if node.op_type == "Conv"}
    dequantised = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    names = {dequantised.get(name, name) for name in users}
    for item in model.graph.initializer:
        if item.name in names and item.dims[1] > 1:
            array = onnx.numpy_helper.to_array(item)
            item.CopyFrom(onnx.numpy_helper.from_array(array[:, 1:].copy(), item.name))
            break
    with pytest.raises(HwnasError, match=r"node 'conv.*\(Conv\): a weight"):
        read_graph(model)


@pytest.mark.parametrize("net", [nets.int8_net, nets.fp32_net])
def test_a_matrix_that_does_not_fit_its_vector_is_refused(net: Callable[[], onnx.ModelProto]) -> None:
    model = net()
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    dequantised = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    item = next(i for i in model.graph.initializer if i.name == dequantised.get(gemm.input[1], gemm.input[1]))
    item.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(item)[:, 1:].copy(), item.name))
    with pytest.raises(HwnasError, match=r"gemm.*(a matrix|Dimension mismatch)"):
        read_graph(model)
