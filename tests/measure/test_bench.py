"""hwnas bench: any ONNX file, both engines side by side, honest about what an engine refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.device import load_device
from hwnas.engines import Artefact
from hwnas.engines.onnxruntime import layers_of
from hwnas.errors import HwnasError
from hwnas.export.onnx import network_model
from hwnas.measure.bench import Row, bench
from hwnas.measure.cold import cold_us
from hwnas.measure.harness import Plan
from hwnas.measure.onnx_file import inputs_of, parse_shapes, pinned, read_model
from hwnas.spaces.mobile import mobile

LOCAL = load_device("local")
QUICK = Plan(warmup_us=100.0, round_us=2_000.0, most_rounds=2)


def saved(folder: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], *constants: Any) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def value(name: str, kind: int, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    space = mobile(
        1, 10, resolutions=(8,), stem_stride=1, stem_width=8, widths=((8,),), depths=(1,), strides=(2,), kernels=(3,),
        expansions=(2,), squeeze_excite=(False,), precisions=("fp32",),
    )  # fmt: skip
    path = tmp_path / "net.onnx"
    model = network_model(space.lower(space.largest()), 0)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, path)
    return path


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Two inputs with free axes, one of indices into a table of 50 and one of truth values; a float16 output."""
    table = numpy_helper.from_array(np.ones((50, 8), np.float32), "table")
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"]),
        helper.make_node("ReduceMean", ["embedded"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["mask"], ["weight"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["mean", "weight"], ["product"]),
        helper.make_node("Cast", ["product"], ["out"], to=TensorProto.FLOAT16),
    ]
    inputs = [value("ids", TensorProto.INT64, ["batch", "length"]), value("mask", TensorProto.BOOL, ["batch", 1])]
    return saved(tmp_path, nodes, inputs, [value("out", TensorProto.FLOAT16, ["batch", None])], table)


def timed(path: Path, tables: Path, *engines: str, **options: Any) -> list[Row]:
    return bench(path, engines, LOCAL, tables, plan=QUICK, **options)


def test_both_engines_are_timed_with_percentiles_a_cold_run_and_layers(network: Path, tmp_path: Path) -> None:
    rows = timed(network, tmp_path / "tables", "onnxruntime", "tvm", by_layer=True)
    assert [row.engine for row in rows] == ["onnxruntime", "tvm"]
    for row in rows:
        assert row.ok and row.min_us and row.p50_us and row.p90_us and row.p99_us, row.reason
        assert 0 < row.min_us <= row.p50_us <= row.p90_us <= row.p99_us
        assert row.samples >= 60 and row.runs >= row.samples
        assert row.load_us and row.first_run_us and row.load_us > 0 and row.first_run_us > 0
        assert row.layers and all(layer.p50_us >= 0 and layer.kind for layer in row.layers)


def test_several_inputs_of_any_type_with_free_axes_are_run_and_a_refusal_is_a_row(tokens: Path, tmp_path: Path) -> None:
    rows = timed(tokens, tmp_path / "tables", "tvm", "onnxruntime", shapes={"ids": (4, 16)})
    refused, ran = rows
    assert not refused.ok and "Gather" in refused.reason and refused.min_us is None
    assert ran.ok and ran.samples >= 60
    assert ran.note == "inputs ids are zeros: it refused random numbers"


def test_text_is_refused_with_its_type(tmp_path: Path) -> None:
    nodes = [helper.make_node("StringNormalizer", ["s"], ["t"])]
    ends = [value(name, TensorProto.STRING, ["n"]) for name in ("s", "t")]
    (row,) = timed(saved(tmp_path, nodes, ends[:1], ends[1:]), tmp_path, "onnxruntime")
    assert "tensor(string)" in row.reason


def test_a_file_that_crashes_its_engine_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that kills itself stands in for the interpreter that runs the model in a process of its own."""
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nkill -SEGV $$\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(HwnasError, match=r"m\.onnx ends the process that runs it by SIGSEGV"):
        cold_us(Artefact("onnxruntime", tmp_path / "m.onnx", {"threads": 1, "shapes": {}}))


def test_a_free_axis_is_1_or_as_asked_and_a_fixed_one_stays(tokens: Path) -> None:
    model = read_model(tokens)
    assert [one.shape for one in inputs_of(model, {})] == [(1, 1), (1, 1)]
    assert [one.shape for one in inputs_of(model, {"ids": (2, 7), "mask": (2, 1)})] == [(2, 7), (2, 1)]
    fixed = pinned(model, inputs_of(model, {"ids": (2, 7)}))
    assert [axis.dim_value for axis in fixed.graph.input[0].type.tensor_type.shape.dim] == [2, 7]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    with pytest.raises(HwnasError, match=r"input mask has the shape \(any, 1\), --shape gives 2,3"):
        inputs_of(model, {"mask": (2, 3)})
    with pytest.raises(HwnasError, match=r"input ids has the shape \(any, any\), --shape gives 4"):
        inputs_of(model, {"ids": (4,)})
    with pytest.raises(HwnasError, match="unknown input 'idz'; nearest: ids"):
        inputs_of(model, {"idz": (4, 4)})


@pytest.mark.parametrize("text", ["x", "x=", "=1", "x=1,a", "x=0", "x=-1", "x=1,,2", "x=1.5", "x=99999999999"])
def test_a_shape_that_is_none_is_refused(text: str) -> None:
    if text == "x=":
        assert parse_shapes([text]) == {"x": ()}
        return
    with pytest.raises(HwnasError, match="--shape takes NAME=1,3,224,224"):
        parse_shapes([text])


@pytest.mark.parametrize("content", [b"", b"name: tiny\n", b"\xff" * 100, b"\x08\x07"])
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(HwnasError, match=r"is not an ONNX file") as caught:
        bench(path, ["onnxruntime"], LOCAL, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_this_machine_is_refused(network: Path, tmp_path: Path) -> None:
    for name in ("raspberry-pi-5", "null"):
        with pytest.raises(HwnasError, match=r"is not this machine|made-up costs"):
            bench(network, ["onnxruntime"], load_device(name), tmp_path)


def test_layers_are_the_medians_of_a_trace_without_its_first_run() -> None:
    events = [
        {"cat": "Session", "name": "model_run", "dur": 99},
        *({"cat": "Node", "name": "a_kernel_time", "dur": d, "args": {"op_name": "Conv"}} for d in (90, 3, 5, 4)),
        {"cat": "Node", "name": "b_kernel_time", "dur": 7, "args": {"op_name": "Relu"}},
    ]
    assert [(one.name, one.kind, one.p50_us) for one in layers_of(events)] == [("a", "Conv", 4.0), ("b", "Relu", 7.0)]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hwnas", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_the_verb_prints_a_line_an_engine_and_exits_2_where_none_runs_it(tokens: Path, tmp_path: Path) -> None:
    done = run(tmp_path, str(tokens), "--json", "--engine", "tvm,onnxruntime")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [bool(engine["reason"]) for engine in said["engines"]] == [True, False]
    assert said["engines"][1]["samples"] >= 60
    refused = run(tmp_path, str(tokens), "--engine", "tvm")
    assert refused.returncode == 2 and refused.stdout == ""
    assert refused.stderr.startswith("error: tvm does not run ") and refused.stderr.count("\n") == 1


def test_measuring_a_model_says_to_bench_it(tokens: Path) -> None:
    command = [sys.executable, "-m", "hwnas", "measure", str(tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"hint: hwnas bench {tokens} times it" in done.stderr


def test_what_the_layers_add_up_to_stands_on_one_line(network: Path) -> None:
    done = run(network.parent, network.name, "--engine", "tvm", "--layers")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("layers in tvm")]
    assert line.rstrip().endswith("us")
