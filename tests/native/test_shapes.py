"""Tensors and the values that they stand for have one shape; codes keep their meaning through views and moves."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, helper

from hwnas.errors import HwnasError
from hwnas.export.native.compile import plan_model
from hwnas.export.native.ends import records
from hwnas.export.native.graph import read_graph
from hwnas.export.native.ir import Value, image, plain
from hwnas.export.native.reader import Reader, Tensor
from hwnas.kernels.target import parse_target
from tests.native.differential import run_ends
from tests.native.test_ends import FLOAT, INT8, INT64, UINT8, assert_near, expected_of, model_of

IMAGE = image("v", "f32", 1, 3, 3)  # [1, 3, 1, 3]: channels and width are of one size
CUBE = plain("v", "f32", (1, 3, 3))


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (IMAGE, (1, 3, 1, 3)),
        (IMAGE, (1, 9)),
        (IMAGE, (1, 3, 3)),
        (CUBE, (1, 3, 3)),
        (plain("v", "f32", (1, 5)), (1, 5, 1, 1)),
        (image("v", "f32", 1, 1, 5), (1, 5)),
    ],
)
def test_what_a_value_may_be_seen_as(value: Value, shape: tuple[int, ...]) -> None:
    assert value.may_be(shape)


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (IMAGE, (1, 3, 3, 1)),
        (IMAGE, (3, 3)),
        (IMAGE, (9,)),
        (CUBE, (1, 9)),
        (CUBE, (1, 3, 1, 3)),
        (plain("v", "f32", (5,)), (1, 5)),
        (image("v", "f32", 3, 1, 3), (1, 3, 3)),
        (plain("v", "f32", (2, 5)), (2, 5, 1, 1)),
    ],
)
def test_what_a_value_may_not_be_seen_as(value: Value, shape: tuple[int, ...]) -> None:
    assert not value.may_be(shape)


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (Tensor("v", "real", (1, 9)), r"t is real \[1, 9\], what was made of it is f32 \[1, 3, 3\]"),
        (Tensor("v", "integer", (1, 3, 3)), r"t is integer \[1, 3, 3\], what was made of it is f32"),
        (Tensor("v", "real", (1, 3, 2)), r"t has shape \[1, 3, 2\], the model says \[1, 3, 3\]"),
    ],
)
def test_an_operator_that_says_another_shape_is_refused_with_its_node(tensor: Tensor, told: str) -> None:
    known = {"t": (1, 3, 3)} if "the model says" in told else {}
    reader, node = Reader({}, {}, frozenset(), known), NodeProto(op_type="Foo", name="foo", output=["t"])
    reader.add_value(CUBE)
    with pytest.raises(HwnasError, match=rf"node 'foo' \(Foo\): {told}"):
        reader.define(node, "t", tensor)


def test_a_constant_that_an_operator_computes_has_the_shape_that_onnx_infers() -> None:
    reader, node = Reader({}, {}, frozenset(), {"t": (2, None)}), NodeProto(op_type="Foo", name="foo", output=["t"])
    reader.keep(node, np.zeros((2, 5)))
    with pytest.raises(HwnasError, match=r"t has shape \[3, 5\], the model says \[2, None\]"):
        reader.keep(node, np.zeros((3, 5)))


VIEWS = {
    "Reshape": (["x", "sizes"], {}, (1, 2, 12)),
    "Flatten": (["x"], {}, (1, 24)),
    "Transpose": (["x"], {"perm": [0, 2, 3, 1]}, (1, 3, 4, 2)),
    "Unsqueeze": (["x", "first"], {}, (1, 1, 2, 3, 4)),
    "Slice": (["x", "first", "second", "second"], {}, (1, 1, 3, 4)),
}


@pytest.mark.parametrize("kind", [UINT8, INT8])
@pytest.mark.parametrize("view", VIEWS)
def test_an_input_of_codes_tells_its_scale_through_what_first_moves_it(view: str, kind: int) -> None:
    inputs, attributes, shape = VIEWS[view]
    dtype = np.uint8 if kind == UINT8 else np.int8
    nodes = [
        helper.make_node(view, inputs, ["seen"], **attributes),
        helper.make_node("DequantizeLinear", ["seen", "scale", "zero"], ["y"]),
    ]
    held = {"sizes": np.array([1, 2, -1]), "first": np.array([0]), "second": np.array([1])}
    held = {name: array for name, array in held.items() if name in inputs}
    held |= {"scale": np.array(0.25, np.float32), "zero": np.array(7, dtype)}
    model = model_of(nodes, [("x", kind, (1, 2, 3, 4))], [("y", FLOAT, shape)], **held)
    program, _ = plan_model(model, parse_target("host"))
    told = records(program.inputs, program.outputs)["input"]
    assert (told["scale"], told["zero_point"]) == (0.25, 7)
    assert [call.kind for call in program.calls].count("lut") == 0, "no copy only to mean another number"
    x = np.arange(-12, 12).reshape(1, 2, 3, 4).astype(dtype)
    np.testing.assert_array_equal(run_ends(model, x)[0], expected_of(model, [x])[0])


def test_two_readers_of_an_inputs_codes_may_mean_other_numbers() -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("DequantizeLinear", ["flat", "scale", "zero"], ["y"]),
        helper.make_node("DequantizeLinear", ["x", "other", "zero"], ["z"]),
    ]
    held = {"scale": np.array(0.25, np.float32), "other": np.array(0.5, np.float32), "zero": np.array(7, np.int8)}
    model = model_of(nodes, [("x", INT8, (1, 3, 4))], [("y", FLOAT, (1, 12)), ("z", FLOAT, (1, 3, 4))], **held)
    (given,) = read_graph(model).inputs
    assert (given.scale, given.zero_point) == (0.25, 7)
    x = np.arange(-6, 6).reshape(1, 3, 4).astype(np.int8)
    for found, expected in zip(run_ends(model, x), expected_of(model, [x]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_raw_bytes_that_nothing_dequantises_are_refused() -> None:
    nodes = [helper.make_node("Flatten", ["x"], ["y"])]
    with pytest.raises(HwnasError, match="is uint8 and not read by one hwnas::Preprocess"):
        read_graph(model_of(nodes, [("x", UINT8, (1, 2, 3))], [("y", UINT8, (1, 6))]))


def test_a_class_token_goes_before_the_rows_and_whole_numbers_side_by_side() -> None:
    nodes = [
        helper.make_node("Concat", ["token", "rows"], ["all"], axis=1),
        helper.make_node("Concat", ["ids", "ids", "last"], ["more"], axis=0),
    ]
    held = {"token": np.full((1, 1, 3), 2.5, np.float32), "last": np.array([9, 8], np.int64)}
    model = model_of(
        nodes,
        [("rows", FLOAT, (1, 3, 3)), ("ids", INT64, (3,))],
        [("all", FLOAT, (1, 4, 3)), ("more", INT64, (8,))],
        **held,
    )
    given = [np.arange(9, dtype=np.float32).reshape(1, 3, 3), np.array([4, 0, 2**40])]
    for found, expected in zip(run_ends(model, *given), expected_of(model, given), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_every_part_of_a_split_is_an_output_of_its_own() -> None:
    """Queries, keys and values of one product."""
    nodes = [
        helper.make_node("MatMul", ["x", "matrix"], ["all"]),
        helper.make_node("Split", ["all"], ["q", "k", "v"], axis=-1, num_outputs=3),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"]),
        helper.make_node("MatMul", ["weights", "v"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    held = {"matrix": rng.standard_normal((4, 12)).astype(np.float32)}
    model = model_of(nodes, [("x", FLOAT, (1, 4, 4))], [("y", FLOAT, (1, 4, 4)), ("q", FLOAT, (1, 4, 4))], **held)
    x = rng.standard_normal((1, 4, 4)).astype(np.float32)
    for found, expected in zip(run_ends(model, x), expected_of(model, [x]), strict=True):
        assert_near(found, expected)


def test_arithmetic_of_sizes_is_done_while_reading() -> None:
    """What exporters write for x.reshape(1, c // 2 * h, -1): whole numbers, divided towards 0."""
    make = helper.make_node
    nodes = [
        make("Shape", ["x"], ["sizes"]),
        make("Gather", ["sizes", "one"], ["c"]),
        make("Slice", ["sizes", "two1", "three1"], ["h"]),
        make("Sub", ["zero", "c"], ["minus_c"]),
        make("Div", ["minus_c", "two"], ["minus_half"]),
        make("Mul", ["minus_half", "h"], ["minus_size"]),
        make("Max", ["minus_size", "least"], ["most"]),
        make("Sub", ["zero", "most"], ["size"]),
        make("Add", ["size", "zero"], ["size1"]),
        make("Concat", ["one1", "size1", "rest"], ["shape"], axis=0),
        make("Reshape", ["x", "shape"], ["seen"]),
        make("Transpose", ["seen"], ["y"], perm=[0, 2, 1]),
    ]
    held = {"one": 1, "one1": [1], "two1": [2], "three1": [3], "zero": 0, "two": 2, "least": -100, "rest": [-1]}
    constants = {name: np.array(value, np.int64) for name, value in held.items()}
    model = model_of(nodes, [("x", FLOAT, (1, 5, 3, 2))], [("y", FLOAT, (1, 5, 6))], **constants)
    x = np.arange(30, dtype=np.float32).reshape(1, 5, 3, 2)
    assert [step.kind for step in read_graph(model).steps].count("elementwise_f32") == 0
    np.testing.assert_array_equal(run_ends(model, x)[0], expected_of(model, [x])[0])


def test_a_slice_backwards_from_before_the_first_element_begins_there() -> None:
    whole = {"start": [-100], "end": [-200], "axis": [1], "step": [-1]}
    constants = {name: np.array(value, np.int64) for name, value in whole.items()}
    nodes = [helper.make_node("Slice", ["x", *constants], ["y"])]
    model = model_of(nodes, [("x", FLOAT, (1, 5))], [("y", FLOAT, (1, 1))], **constants)
    x = np.arange(1, 6, dtype=np.float32)[None]
    np.testing.assert_array_equal(run_ends(model, x)[0], expected_of(model, [x])[0])


def test_a_pad_of_a_whole_number_that_a_float_does_not_hold_is_refused() -> None:
    held = {"widths": np.array([0, 1, 0, 1]), "value": np.array(2**53 + 1)}
    nodes = [helper.make_node("Pad", ["x", *held], ["y"])]
    with pytest.raises(HwnasError, match="a value of 9007199254740993"):
        read_graph(model_of(nodes, [("x", INT64, (1, 5))], [("y", INT64, (1, 7))], **held))


@pytest.mark.parametrize("bounds", [["high"], ["", "low"]])
def test_a_clip_that_lets_no_number_through_is_refused_and_not_left_out(bounds: list[str]) -> None:
    held = {"high": np.float32(np.inf), "low": np.float32(-np.inf)}
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Clip", ["s", *bounds], ["y"])]
    model = model_of(nodes, [("x", FLOAT, (1, 3))], [("y", FLOAT, (1, 3))], **{b: held[b] for b in bounds if b})
    with pytest.raises(HwnasError, match="lets no number through"):
        read_graph(model)
