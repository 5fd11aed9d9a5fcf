"""Models with several inputs and outputs, of any rank and type: compiled, called, run by their own programs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import HwnasError
from hwnas.export.native import NativeModel, compile_onnx
from hwnas.export.native.compile import plan_model
from hwnas.export.native.emulate import missing_emulator, run_artifact
from hwnas.export.native.graph import read_graph
from hwnas.kernels.target import parse_target
from tests.exact import exact_session
from tests.native.differential import run_ends

FLOAT, UINT8, INT8, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8, TensorProto.INT64
End = tuple[str, int, tuple[int, ...]]


def model_of(
    nodes: list[onnx.NodeProto], inputs: list[End], outputs: list[End], **constants: np.ndarray
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "ends",
        [helper.make_tensor_value_info(*end) for end in inputs],
        [helper.make_tensor_value_info(*end) for end in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def two_towers() -> onnx.ModelProto:
    """An image and a vector of another rank; an embedding, a sum that goes on into a class, and a middle tensor."""
    rng = np.random.default_rng(0)
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "kernel"], ["map"], pads=[1, 1, 1, 1]),
        node("Relu", ["map"], ["rectified"]),
        node("GlobalAveragePool", ["rectified"], ["mean"]),
        node("Flatten", ["mean"], ["embedding"]),
        node("MatMul", ["sequence", "matrix"], ["rows"]),
        node("Reshape", ["rows", "flat"], ["row"]),
        node("MatMul", ["row", "last"], ["other"]),
        node("Add", ["embedding", "other"], ["sum"]),
        node("Sigmoid", ["sum"], ["score"]),
    ]
    return model_of(
        nodes,
        [("image", FLOAT, (1, 3, 6, 5)), ("sequence", FLOAT, (1, 4, 7))],
        [("score", FLOAT, (1, 8)), ("rectified", FLOAT, (1, 8, 6, 5)), ("rows", FLOAT, (1, 4, 5))],
        kernel=rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        matrix=rng.standard_normal((7, 5)).astype(np.float32),
        flat=np.array([1, 20], np.int64),
        last=rng.standard_normal((20, 8)).astype(np.float32),
    )


def codes_in_and_out() -> onnx.ModelProto:
    """8-bit codes of an image and of a sequence in, of both out: nothing of it is computed in floats."""
    rng = np.random.default_rng(1)
    node = helper.make_node
    nodes = [
        node("DequantizeLinear", ["image", "s", "z"], ["image_real"]),
        node("DequantizeLinear", ["kernel", "w"], ["kernel_real"]),
        node("Conv", ["image_real", "kernel_real"], ["map"], pads=[1, 1, 1, 1]),
        node("QuantizeLinear", ["map", "t", "z"], ["map_codes"]),
        node("DequantizeLinear", ["sequence", "s8", "z8"], ["sequence_real"]),
        node("Relu", ["sequence_real"], ["rectified"]),
        node("QuantizeLinear", ["rectified", "s8", "z8"], ["sequence_codes"]),
    ]
    return model_of(
        nodes,
        [("image", UINT8, (1, 3, 5, 4)), ("sequence", INT8, (1, 6, 3))],
        [("map_codes", UINT8, (1, 7, 5, 4)), ("sequence_codes", INT8, (1, 6, 3))],
        s=np.array(0.02, np.float32),
        z=np.array(117, np.uint8),
        t=np.array(0.05, np.float32),
        s8=np.array(0.1, np.float32),
        z8=np.array(-3, np.int8),
        w=np.array(0.01, np.float32),
        kernel=rng.integers(-63, 64, (7, 3, 3, 3)).astype(np.int8),
    )


def arrays_of(model: onnx.ModelProto, seed: int, batch: int = 1) -> list[np.ndarray]:
    rng, found = np.random.default_rng(seed), list[np.ndarray]()
    for item in model.graph.input:
        shape = (batch, *(d.dim_value for d in item.type.tensor_type.shape.dim[1:]))
        dtype = helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
        if dtype == np.float32:
            found.append(rng.standard_normal(shape).astype(np.float32))
        else:
            limits = np.iinfo(dtype)
            found.append(rng.integers(limits.min, limits.max + 1, shape).astype(dtype))
    return found


def expected_of(model: onnx.ModelProto, arrays: list[np.ndarray]) -> list[np.ndarray]:
    names = [item.name for item in model.graph.input]
    return exact_session(model).run(None, dict(zip(names, arrays, strict=True)))


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if found.dtype == np.float32:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("make", [two_towers, codes_in_and_out])
def test_several_inputs_and_outputs_give_what_onnx_runtime_gives(make: object) -> None:
    model = make()  # type: ignore[operator]
    arrays = arrays_of(model, 3)
    for found, expected in zip(run_ends(model, *arrays), expected_of(model, arrays), strict=True):
        assert_near(found, expected)


def test_codes_stay_codes_from_end_to_end() -> None:
    kinds = [step.kind for step in read_graph(codes_in_and_out()).steps]
    assert sorted(kinds) == ["conv_int", "lut", "to_image", "to_plain"]


@pytest.mark.parametrize("make", [two_towers, codes_in_and_out])
def test_an_artefact_takes_a_tuple_or_a_dict_and_gives_a_tuple(
    make: object, tmp_path: Path, kernel_cache: Path
) -> None:
    model = make()  # type: ignore[operator]
    made = compile_onnx(model, "host", tmp_path / "out", cache=kernel_cache)
    assert made.manifest["agreement"]["ran"], "it was compared with ONNX Runtime before it was put there"
    native, batch = NativeModel(tmp_path / "out"), arrays_of(model, 5, batch=3)
    names = [item.name for item in model.graph.input]
    by_order, by_name = native(tuple(batch)), native(dict(zip(reversed(names), reversed(batch), strict=True)))
    by_program = run_artifact(tmp_path / "out", tuple(batch))
    for index in range(3):
        expected = expected_of(model, [array[index : index + 1] for array in batch])
        for outputs in (by_order, by_name, by_program):
            for found, wanted in zip(outputs, expected, strict=True):
                assert_near(found[index : index + 1], wanted)


def test_the_manifest_and_the_header_say_what_each_end_is(tmp_path: Path, kernel_cache: Path) -> None:
    made = compile_onnx(codes_in_and_out(), "host", tmp_path / "out", "net", cache=kernel_cache)
    scale = float(np.float32(0.02))
    image = {"name": "image", "shape": [1, 3, 5, 4], "type": "uint8", "scale": scale, "zero_point": 117}
    assert made.manifest["inputs"][0] == image and "input" not in made.manifest
    assert [end["type"] for end in made.manifest["outputs"]] == ["uint8", "int8"]
    header = made.file("net.h").read_text()
    assert "NET_INPUT_1_OFFSET 64" in header and "NET_OUTPUTS 2" in header and "net_run_each" in header
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["inputs"][1]["name"] == "sequence"


def test_the_example_of_several_inputs_compiles_and_runs(tmp_path: Path, kernel_cache: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler builds the example")
    compile_onnx(two_towers(), "host", tmp_path / "out", cache=kernel_cache)
    flags = ["-O1", "-Wall", "-Wextra", "-Werror"]
    built = [compiler, *flags, "example.c", "libmodel.a", "-o", str(tmp_path / "example")]
    subprocess.run(built, cwd=tmp_path / "out", check=True)
    said = subprocess.run([tmp_path / "example"], capture_output=True, text=True, check=True).stdout.split()
    arrays = [np.arange(90) % 7 / 7, np.arange(28) % 7 / 7]
    given = [
        array.astype(np.float32).reshape(shape) for array, shape in zip(arrays, [(1, 3, 6, 5), (1, 4, 7)], strict=True)
    ]
    expected = np.concatenate([one.reshape(-1)[:10] for one in expected_of(two_towers(), given)])
    np.testing.assert_allclose([float(text) for text in said], expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["aarch64", "wasm32-simd128", "cortex-m4"])
def test_other_machines_take_several_inputs_too(target: str, tmp_path: Path, kernel_cache: Path) -> None:
    if missing_emulator(target) is not None:
        pytest.skip(f"needs {missing_emulator(target)}")
    model = codes_in_and_out()
    compile_onnx(model, target, tmp_path / "out", cache=kernel_cache)
    arrays = arrays_of(model, 7)
    for found, expected in zip(run_artifact(tmp_path / "out", tuple(arrays)), expected_of(model, arrays), strict=True):
        assert_near(found, expected)


def test_what_does_not_fit_the_inputs_is_refused(tmp_path: Path, kernel_cache: Path) -> None:
    compile_onnx(two_towers(), "host", tmp_path / "out", cache=kernel_cache)
    native = NativeModel(tmp_path / "out")
    image, sequence = arrays_of(two_towers(), 0)
    for given, message in (
        (image, "2 inputs, got 1"),
        ({"image": image}, "must be image, sequence"),
        ((image, image), r"must be \[N, 4, 7\]"),
        ((image, np.concatenate([sequence, sequence])), "one batch size"),
    ):
        with pytest.raises(HwnasError, match=message):
            native(given)


def test_an_output_may_be_another_outputs_source_and_an_input_may_be_read_twice() -> None:
    node = helper.make_node
    nodes = [
        node("Relu", ["x"], ["y"]),
        node("Add", ["y", "x"], ["z"]),
        node("Reshape", ["y", "shape"], ["seen"]),
        node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]),
    ]
    outputs = [("y", FLOAT, (1, 4, 6)), ("z", FLOAT, (1, 4, 6)), ("seen", FLOAT, (3, 8)), ("turned", FLOAT, (1, 6, 4))]
    model = model_of(nodes, [("x", FLOAT, (1, 4, 6))], outputs, shape=np.array([3, 8], np.int64))
    arrays = arrays_of(model, 2)
    for found, expected in zip(run_ends(model, *arrays), expected_of(model, arrays), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize(
    ("operator", "constants", "attributes"),
    [
        ("GlobalAveragePool", (), {}),
        ("Softmax", (), {"axis": 1}),
        ("Concat", ("x",), {"axis": 1}),
        ("Add", ("vector",), {}),
        ("PRelu", ("vector",), {}),
        ("MaxPool", (), {"kernel_shape": [1, 2]}),
    ],
)
def test_rows_times_a_matrix_are_an_image_to_who_reads_them_as_one(
    operator: str, constants: tuple[str, ...], attributes: dict[str, object], quantised: bool
) -> None:
    """With as many channels as columns a mix-up of the two has the right shape, and wrong numbers."""
    node, shape = helper.make_node, (1, 5, 3, 5)
    nodes = [node("MatMul", ["x", "matrix"], ["rows"]), node(operator, ["rows", *constants], ["y"], **attributes)]
    rng = np.random.default_rng(0)
    held = {"matrix": rng.standard_normal((5, 5)).astype(np.float32)}
    if quantised:
        held = {"codes": rng.integers(-60, 60, (5, 5)).astype(np.int8), "s": np.float32(0.02), "t": np.float32(0.05)}
        held |= {"z": np.uint8(120), "u": np.float32(0.05)}
        nodes = [
            node("DequantizeLinear", ["codes", "s"], ["matrix"]),
            node("QuantizeLinear", ["x", "u", "z"], ["xq"]),
            node("DequantizeLinear", ["xq", "u", "z"], ["xd"]),
            node("MatMul", ["xd", "matrix"], ["product"]),
            node("QuantizeLinear", ["product", "t", "z"], ["rq"]),
            node("DequantizeLinear", ["rq", "t", "z"], ["rows"]),
            nodes[-1],
        ]
    if "vector" in constants:
        held["vector"] = rng.standard_normal((5, 1, 1)).astype(np.float32)
    sizes = {"GlobalAveragePool": (1, 5, 1, 1), "Concat": (1, 10, 3, 5), "MaxPool": (1, 5, 3, 4)}
    outputs = [("y", FLOAT, sizes.get(operator, shape))]
    model = model_of(nodes, [("x", FLOAT, shape)], outputs, **{k: np.asarray(v) for k, v in held.items()})
    arrays = arrays_of(model, 4)
    assert_near(run_ends(model, *arrays)[0], expected_of(model, arrays)[0])


@pytest.mark.parametrize("length", [5, 4])
@pytest.mark.parametrize("operator", ["Add", "Mul", "gate", "pool"])
def test_a_convolved_sequence_meets_one_that_was_not(operator: str, length: int) -> None:
    """A sequence lies as an image of one row behind a convolution, and dense elsewhere: a residual joins the two."""
    node, shape = helper.make_node, (1, 5, length)
    nodes = [node("Conv", ["x", "kernel"], ["c"], pads=[1, 1])]
    if operator == "gate":
        nodes += [node("ReduceMean", ["c", "axis"], ["g"]), node("Mul", ["c", "g"], ["y"])]
    elif operator == "pool":
        nodes += [node("GlobalAveragePool", ["c"], ["g"]), node("Mul", ["g", "x"], ["y"])]
    else:
        nodes.append(node(operator, ["x", "c"], ["y"]))
    kernel = np.random.default_rng(0).standard_normal((5, 5, 3)).astype(np.float32)
    held = {"kernel": kernel, "axis": np.array([2], np.int64)}
    used = {name for each in nodes for name in each.input}
    held = {name: array for name, array in held.items() if name in used}
    model = model_of(nodes, [("x", FLOAT, shape)], [("y", FLOAT, shape)], **held)
    arrays = arrays_of(model, 4)
    assert_near(run_ends(model, *arrays)[0], expected_of(model, arrays)[0])


@pytest.mark.parametrize("operator", ["LayerNormalization", "MatMul"])
def test_a_quantised_vector_stays_one(operator: str) -> None:
    """[1, N] through an integer kernel of any rank is [1, N] to the model."""
    node = helper.make_node
    held = {"s": np.array(0.05, np.float32), "z": np.array(120, np.uint8), "gamma": np.ones(4, np.float32)}
    inputs: list[End] = [("x", FLOAT, (1, 4))] + [("m", FLOAT, (4, 4))] * (operator == "MatMul")
    nodes = []
    for name, _, _ in inputs:
        nodes.append(node("QuantizeLinear", [name, "s", "z"], [f"{name}q"]))
        nodes.append(node("DequantizeLinear", [f"{name}q", "s", "z"], [f"{name}d"]))
    second = "md" if operator == "MatMul" else "gamma"
    nodes += [
        node(operator, ["xd", second], ["y"]),
        node("QuantizeLinear", ["y", "s", "z"], ["yq"]),
        node("DequantizeLinear", ["yq", "s", "z"], ["yd"]),
    ]
    if operator == "MatMul":  # an input [4, 4] has no batch of 1: it is made of one that has
        inputs[1] = ("m", FLOAT, (1, 4, 4))
        nodes[2:3] = [node("Squeeze", ["m", "first"], ["m2"]), node("QuantizeLinear", ["m2", "s", "z"], ["mq"])]
        held["first"] = np.array([0], np.int64)
        del held["gamma"]
    model = model_of(nodes, inputs, [("yd", FLOAT, (1, 4))], **held)
    arrays = arrays_of(model, 4)
    np.testing.assert_allclose(run_ends(model, *arrays)[0], expected_of(model, arrays)[0], atol=0.0501)


@pytest.mark.parametrize("shape", [(7,), (1, 7), (1, 3, 4), (1, 2, 3, 2, 3), (1, 2, 1, 2, 3, 2)])
def test_an_input_has_any_rank(shape: tuple[int, ...]) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Add", ["y", "x"], ["z"])]
    model = model_of(nodes, [("x", FLOAT, shape)], [("z", FLOAT, shape)])
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_array_equal(run_ends(model, x)[0], expected_of(model, [x])[0])


@pytest.mark.parametrize(
    ("what", "inputs", "outputs", "message"),
    [
        ("an input that nothing reads", [("x", (1, 4)), ("w", (1, 4))], [("y", (1, 4))], "'w' is read by no node"),
        ("a batch of 2", [("x", (2, 4, 3))], [("y", (2, 4, 3))], "fix the batch to 1"),
        ("seven dimensions", [("x", (1,) * 7)], [("y", (1,) * 7)], r"shape \[1, 1, 1, 1, 1, 1, 1\]"),
    ],
)
def test_ends_that_no_library_can_have_are_refused_in_one_line(
    what: str, inputs: list[tuple[str, tuple[int, ...]]], outputs: list[tuple[str, tuple[int, ...]]], message: str
) -> None:
    del what
    model = model_of(
        [helper.make_node("Relu", ["x"], ["y"])],
        [(name, FLOAT, shape) for name, shape in inputs],
        [(name, FLOAT, shape) for name, shape in outputs],
    )
    with pytest.raises(HwnasError, match=message) as caught:
        read_graph(model)
    assert "\n" not in str(caught.value)


def test_the_arena_holds_no_input_and_no_output() -> None:
    program, _ = plan_model(two_towers(), parse_target("x86-avx2"))
    places = {place for call in program.calls for place, _ in call.pointers}
    assert places == {"input", "output", "arena", "constants"}
    assert [end.offset for end in program.inputs] == [0, 384] and program.input_bytes == 384 + 4 * 28
