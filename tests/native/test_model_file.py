"""Strangers' ONNX files: whatever is wrong with one is a single line, and nothing outside its folder is opened."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import HwnasError
from hwnas.export.native.graph import load_model, read_graph
from hwnas.export.native.reader import Reader
from tests.native import nets

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3, 1, 1)


def conv(**weight: object) -> onnx.ModelProto:
    """One convolution; `weight` replaces fields of its weight."""
    item = numpy_helper.from_array(WEIGHT, "w")
    for key, value in weight.items():
        if key == "dims":
            item.dims[:] = value  # type: ignore[assignment]
        else:
            setattr(item, key, value)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="the_conv")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 4, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 4, 4))],
        [item],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


def external(folder: Path, location: str, **entries: str) -> Path:
    """A model in `folder` whose weight lies at `location`."""
    made = conv(raw_data=b"", data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        made.graph.initializer[0].external_data.add(key=key, value=value)
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_external_data_in_the_models_folder_is_read(tmp_path: Path) -> None:
    path = external(tmp_path / "m", "weights/w.bin", offset="8", length="48")
    (tmp_path / "m" / "weights").mkdir()
    (tmp_path / "m" / "weights" / "w.bin").write_bytes(bytes(8) + WEIGHT.tobytes())
    step = read_graph(load_model(path)).steps[1]
    assert np.array_equal(step.constants["weight"], WEIGHT)


OPENED: list[str] = []


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and "canary" in str(arguments[0]):
        OPENED.append(str(arguments[0]))


@pytest.mark.parametrize("way", ["..", "absolute", "link", "linked folder", "inside and out"])
def test_external_data_outside_the_models_folder_is_never_opened(way: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary.bin"
    canary.write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "m"
    folder.mkdir()
    location = {
        "..": "../canary.bin",
        "absolute": str(canary),
        "link": "canary-link",
        "linked folder": "out/canary.bin",
        "inside and out": "a/../../canary.bin",
    }[way]
    (folder / "canary-link").symlink_to(canary)
    (folder / "out").symlink_to(tmp_path)
    path = external(folder, location)
    if _listen not in _HOOKS:
        sys.addaudithook(_listen)
        _HOOKS.append(_listen)
    OPENED.clear()
    with pytest.raises(HwnasError, match="external data"):
        read_graph(load_model(path))
    assert not OPENED


_HOOKS: list[Callable[..., None]] = []


@pytest.mark.parametrize("entries", [{"length": "47"}, {"offset": "1"}, {"offset": "-8"}, {"offset": "x"}])
def test_external_data_that_does_not_fit_its_tensor_is_refused(entries: dict[str, str], tmp_path: Path) -> None:
    path = external(tmp_path / "m", "w.bin", **entries)
    (tmp_path / "m" / "w.bin").write_bytes(WEIGHT.tobytes())
    with pytest.raises(HwnasError, match="external data"):
        load_model(path)


def test_external_data_of_a_model_in_memory_is_refused() -> None:
    made = conv(raw_data=b"", data_location=TensorProto.EXTERNAL)
    with pytest.raises(HwnasError, match="lies in another file"):
        read_graph(made)


@pytest.mark.parametrize(
    "weight",
    [
        {"dims": [4, 3, 1, 2]},
        {"dims": [4, 3, -1, -1]},
        {"dims": [0, 3, 1, 1]},
        {"dims": [2**40, 3, 1, 1]},
        {"dims": [2**62, 4, 1, 1]},
        {"raw_data": b"123"},
        {"data_type": 0},
        {"data_type": 99},
        {"data_type": TensorProto.STRING},
        {"data_type": TensorProto.INT4},
    ],
)
def test_a_weight_whose_shape_or_type_does_not_match_its_data_is_refused(weight: dict[str, object]) -> None:
    with pytest.raises(HwnasError) as caught:
        read_graph(conv(**weight))
    assert "'w'" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [2**20, 2**40, 2**62, -1, 0])
def test_a_huge_or_empty_input_is_refused_before_memory_is_taken(size: int) -> None:
    made = conv()
    made.graph.input[0].type.tensor_type.shape.dim[2].dim_value = size
    made.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 4096
    del made.graph.output[0].type.tensor_type.shape.dim[:]
    made.graph.output[0].type.tensor_type.ClearField("shape")
    tracemalloc.start()
    with pytest.raises(HwnasError, match="'x' has shape"):
        read_graph(made)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def _cycle(made: onnx.ModelProto) -> None:
    made.graph.node[0].input[0] = "z"
    made.graph.node.append(helper.make_node("Relu", ["y"], ["z"], name="back"))


def _function_of_itself(made: onnx.ModelProto) -> None:
    made.opset_import.append(helper.make_opsetid("hwnas", 1))
    body = [helper.make_node("BinaryConv", ["x"], ["y"], domain="hwnas")]
    made.functions.append(helper.make_function("hwnas", "BinaryConv", ["x"], ["y"], body, made.opset_import))
    made.graph.node[0].op_type, made.graph.node[0].domain = "BinaryConv", "hwnas"


BROKEN: dict[str, Callable[[onnx.ModelProto], object]] = {
    "a cycle": _cycle,
    "a function that calls itself": _function_of_itself,
    "an input that nothing makes": lambda m: m.graph.node[0].input.__setitem__(0, "absent"),
    "a weight that is gone": lambda m: m.graph.initializer.pop(),
    "a weight given twice": lambda m: m.graph.initializer.append(m.graph.initializer[0]),
    "a tensor made twice": lambda m: m.graph.node.append(m.graph.node[0]),
    "no output": lambda m: m.graph.output.pop(),
    "two outputs": lambda m: m.graph.output.append(m.graph.output[0]),
    "an output that nothing makes": lambda m: setattr(m.graph.output[0], "name", "absent"),
    "an output of another shape": lambda m: setattr(m.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 5),
    "an output of another type": lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 6),
    "a node without outputs": lambda m: m.graph.node[0].output.pop(),
    "a node with one input too few": lambda m: m.graph.node[0].input.pop(),
    "no opset": lambda m: m.opset_import.pop(),
    "an opset before 7": lambda m: setattr(m.opset_import[0], "version", 6),
    "an opset of the future": lambda m: setattr(m.opset_import[0], "version", 2**20),
    "an operator of another domain": lambda m: setattr(m.graph.node[0], "domain", "com.microsoft"),
    "a group that is none": lambda m: m.graph.node[0].attribute.append(helper.make_attribute("group", 0)),
    "a stride that is none": lambda m: m.graph.node[0].attribute.append(helper.make_attribute("strides", [0, 1])),
    "a window beyond 64 bits": lambda m: m.graph.node[0].attribute.append(
        helper.make_attribute("pads", [2**40, 0, 2**40, 0])
    ),
    "pads below 0": lambda m: m.graph.node[0].attribute.append(helper.make_attribute("pads", [-1, 0, 0, 0])),
    "an attribute of another kind": lambda m: m.graph.node[0].attribute.append(helper.make_attribute("group", "two")),
}


@pytest.mark.parametrize("what", list(BROKEN))
def test_a_broken_model_is_refused_in_one_line(what: str) -> None:
    made = conv()
    BROKEN[what](made)
    with pytest.raises(HwnasError) as caught:
        read_graph(made)
    assert "\n" not in str(caught.value)


def test_every_cut_of_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    data = nets.int8_net(8, 4).SerializeToString()
    path = tmp_path / "cut.onnx"
    for end in range(0, len(data) - 1, 97):
        path.write_bytes(data[:end])
        with pytest.raises(HwnasError):
            read_graph(load_model(path))


def test_nodes_that_the_output_does_not_need_are_not_read() -> None:
    made = conv()
    made.graph.node.append(helper.make_node("Sign", ["y"], ["unused"], name="no_kernel"))
    assert [step.kind for step in read_graph(made).steps] == ["to_nhwc", "conv_f32", "to_nchw"]


def test_what_no_check_foresaw_names_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("inside")

    monkeypatch.setattr(Reader, "image", broken)
    with pytest.raises(HwnasError, match=r"the_conv.*KeyError 'inside'"):
        read_graph(conv())


@pytest.mark.parametrize("operator", ["GridSample", "ConvTranspose", "ScatterND", "Sign", "GRU"])
def test_an_operator_without_a_relative_names_none(operator: str) -> None:
    made = conv()
    made.graph.node[0].op_type = operator
    with pytest.raises(HwnasError, match=r"the_conv.*no kernel covers operator") as caught:
        read_graph(made)
    assert caught.value.nearest == ()


def test_a_misspelt_operator_names_the_one_that_was_meant() -> None:
    made = conv()
    made.graph.node[0].op_type = "Softmx"
    with pytest.raises(HwnasError, match="no kernel covers operator") as caught:
        read_graph(made)
    assert caught.value.nearest[0] == "Softmax"
