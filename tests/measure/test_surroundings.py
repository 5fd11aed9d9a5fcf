"""What is put around a block to time it leaves what it computes as it was, and takes off only what is not its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from hwnas.device import load_device
from hwnas.engines.onnxruntime import Engine
from hwnas.export.onnx import block_model
from hwnas.measure import measure_missing
from hwnas.measure.float_ends import with_float_ends
from hwnas.measure.neighbour import behind_a_pool, float_shape, pool_alone
from hwnas.network import Operator
from hwnas.table import open_table
from tests.exact import exact_session


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = exact_session(model)
    result: np.ndarray = session.run(None, {session.get_inputs()[0].name: x})[0]
    return result


def image(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


INSIDE = Operator.of("bireal", (16, 8, 8), (16, 8, 8), kernel=3, stride=1)
ENTRY = Operator.of("conv_bn_act", (3, 8, 8), (16, 8, 8), kernel=3, stride=1, activation="relu")
CODES = Operator.of("conv_bn_act", (16, 8, 8), (16, 8, 8), "int8", kernel=3, stride=1, activation="relu")


def test_a_block_computes_the_same_behind_a_pool() -> None:
    model, x = block_model(INSIDE), image((1, 16, 8, 8))
    # The pool is the identity; fusing the residual changes the order of one float32 sum.
    np.testing.assert_allclose(run(behind_a_pool(model), x), run(model, x), rtol=1e-5, atol=1e-5)
    assert np.array_equal(run(pool_alone((1, 16, 8, 8)), x), x)


def test_only_float_blocks_inside_a_network_have_a_neighbour() -> None:
    assert float_shape(block_model(INSIDE)) == (1, 16, 8, 8)
    assert float_shape(block_model(ENTRY)) is None
    assert float_shape(block_model(CODES)) is None


def test_blocks_of_one_input_shape_share_their_baseline(tmp_path: Path) -> None:
    engine = Engine(load_device("local"))
    other = Operator.of("conv_bn_act", (16, 8, 8), (24, 8, 8), kernel=1, stride=1, activation="relu")
    inside, entry = engine.baseline(INSIDE, tmp_path), engine.baseline(ENTRY, tmp_path)
    assert inside == engine.baseline(other, tmp_path) and entry == engine.baseline(CODES, tmp_path)
    assert inside.path != entry.path and inside.path.exists() and entry.path.exists()


def test_what_is_not_the_blocks_own_is_taken_off_and_kept_in_the_row(tmp_path: Path) -> None:
    local = load_device("local")
    measure_missing([INSIDE], "onnxruntime", local, tmp_path, progress=False)
    row = open_table(tmp_path, local, "onnxruntime", "fp32").row(INSIDE)
    assert row.overhead_us is not None and row.overhead_us > 0
    assert row.latency_us == pytest.approx(min(row.samples_us) - row.overhead_us, rel=1e-4)


def test_float_ends_only_quantise_and_dequantise_around_the_same_block() -> None:
    model, x = block_model(CODES), image((1, 16, 8, 8))
    edited = with_float_ends(model, CODES)
    onnx.checker.check_model(edited, full_check=True)
    reader = next(node for node in model.graph.node if node.input[0] == model.graph.input[0].name)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    scale, zero = (values[name] for name in reader.input[1:3])
    codes = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8)
    writer = next(node for node in model.graph.node if node.output[0] == model.graph.output[0].name)
    scale, zero = (values[name] for name in writer.input[1:3])
    expected = (run(model, codes).astype(np.float32) - zero) * scale
    np.testing.assert_allclose(run(edited, x), expected, rtol=1e-6)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize(("shape", "neighbour"), [((16, 8, 8), True), ((3, 8, 8), False), ((10,), False)])
def test_a_conversion_inside_a_network_has_a_float_neighbour(
    precision: str, shape: tuple[int, ...], neighbour: bool
) -> None:
    operator = Operator.of("convert", shape, shape, precision)
    edited = with_float_ends(block_model(operator), operator)
    onnx.checker.check_model(edited, full_check=True)
    assert any(node.op_type == "Relu" for node in edited.graph.node) == neighbour
    ends = (edited.graph.input[0], edited.graph.output[0])
    assert {end.type.tensor_type.elem_type for end in ends} == {onnx.TensorProto.FLOAT}
    run(edited, image((1, *shape)))
