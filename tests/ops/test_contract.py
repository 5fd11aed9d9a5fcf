"""What every primitive promises: torch, numpy and ONNX agree, and the integer form is ONNX Runtime's bit for bit."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hwnas import ops
from hwnas.export.onnx_graph import IR_VERSION, OPSET, Graph
from hwnas.network import Layer
from hwnas.ops import primitive_of
from hwnas.ops.numeric.scales import Scale
from hwnas.ops.primitive import Codes
from tests.exact import exact_session
from tests.ops.examples import FLOAT_ONLY, LAYERS, PIXELS, input_shapes

FOLDER = Path(ops.__file__).parent
INTEGER = [replace(layer, precision="int8") for layer in LAYERS if layer.kind not in FLOAT_ONLY]
by_name = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)


def session_outputs(graph: Graph, name: str, inputs: list[np.ndarray], shape: tuple[int, ...], kind: int) -> np.ndarray:
    """The output of a one-layer model in ONNX Runtime."""

    kinds = [helper.np_dtype_to_tensor_dtype(x.dtype) for x in inputs]
    ends = [helper.make_tensor_value_info(f"x{i}", kinds[i], x.shape) for i, x in enumerate(inputs)]
    result = helper.make_tensor_value_info(name, kind, shape)
    binary = any(node.domain == "hwnas" for node in graph.nodes)
    from hwnas.export.onnx_binary import binary_conv_function

    model = helper.make_model(
        helper.make_graph(graph.nodes, "layer", ends, [result], list(graph.initializers.values())),
        opset_imports=[helper.make_opsetid("", OPSET)] + [helper.make_opsetid("hwnas", 1)] * binary,
        functions=[binary_conv_function()] * binary,
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    found: np.ndarray = exact_session(model).run(None, {f"x{i}": x for i, x in enumerate(inputs)})[0]
    return found


def lowered(layer: Layer, inputs: list[np.ndarray], tensors: Any, codes: Codes, shape: tuple[int, ...]) -> np.ndarray:
    graph = Graph()
    names = [f"x{i}" for i in range(len(inputs))]
    name = primitive_of(layer.kind).lower(layer, "layer", names, tensors, codes, graph)
    return session_outputs(
        graph, name, inputs, shape, TensorProto.UINT8 if layer.precision == "int8" else TensorProto.FLOAT
    )


def test_every_file_of_the_folder_has_an_example() -> None:
    kinds = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "primitive"}
    assert kinds == {layer.kind for layer in (*LAYERS, PIXELS)}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_no_file_imports_torch_or_onnx_at_its_top(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            assert not {name.split(".")[0] for name in names} & {"torch", "onnx", "onnxruntime", "tvm"}


@by_name
def test_the_torch_forward_is_the_numpy_reference_of_the_folded_layer(layer: Layer) -> None:
    import torch

    primitive, generator = primitive_of(layer.kind), torch.Generator().manual_seed(0)
    shapes = {**primitive.parameters(layer), **primitive.buffers(layer)}
    params = {name: primitive.initial(layer, name, shape, generator) for name, shape in shapes.items()}
    for name in params:
        assert tuple(params[name].shape) == shapes[name]
        params[name] = params[name] + torch.rand(params[name].shape, generator=generator) * 0.2
    inputs = [torch.randn((3, *shape), generator=generator) for shape in input_shapes(layer)]
    plain = replace(layer, precision="fp32") if layer.kind == "quantize" else layer
    expected = inputs[0] if layer.kind == "quantize" else primitive.forward(plain, inputs, params, False)
    folded = primitive.fold(layer, {name: value.numpy() for name, value in params.items()})
    found = primitive.reference(plain, [x.numpy() for x in inputs], folded)
    assert found.shape == (3, *layer.out_shape) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)  # float32 sums of a few hundred terms


@pytest.mark.parametrize("layer", [e for e in LAYERS if "quantize" not in e.kind], ids=lambda layer: layer.name)
def test_onnx_runtime_gives_the_numpy_reference(layer: Layer) -> None:
    rng = np.random.default_rng(1)
    primitive = primitive_of(layer.kind)
    tensors = primitive.random(layer, rng)
    inputs = [rng.standard_normal((2, *shape)).astype(np.float32) for shape in input_shapes(layer)]
    expected = primitive.reference(layer, inputs, tensors)
    codes = Codes((None,) * len(inputs), None)
    found = lowered(layer, inputs, tensors, codes, expected.shape)
    if layer.kind == "binary_conv":
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", INTEGER, ids=lambda layer: layer.name)
@pytest.mark.parametrize("seed", range(4))
def test_the_integer_reference_is_bit_equal_to_onnx_runtime(layer: Layer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    primitive = primitive_of(layer.kind)
    inputs = [rng.integers(0, 256, (16, *shape)).astype(np.uint8) for shape in input_shapes(layer)]
    scales = tuple(Scale(float(np.float32(rng.uniform(0.01, 0.05))), int(rng.integers(0, 256))) for _ in inputs)
    low = 0.0 if layer.activation == "relu" else -2.0
    target = primitive.output_code(layer, scales, low, float(rng.uniform(1.0, 4.0)))
    codes = Codes(scales, target)
    tensors = primitive.quantise(layer, primitive.random(layer, rng), codes, 8)
    expected = primitive.reference_int8(layer, inputs, tensors, codes)
    assert expected.dtype == np.uint8
    np.testing.assert_array_equal(lowered(layer, inputs, tensors, codes, expected.shape), expected)


@pytest.mark.parametrize("zero_point", [0, 3, 128, 255])
def test_quantize_rounds_ties_as_onnx_runtime_does(zero_point: int) -> None:
    layer = next(layer for layer in LAYERS if layer.kind == "quantize")
    layer = replace(layer, in_shape=(1, 1, 4000), out_shape=(1, 1, 4000))
    codes = Codes((None,), Scale(0.25, zero_point))
    x = (np.arange(4000, dtype=np.float32) - 2000).reshape(1, 1, 1, 4000) * np.float32(0.125)  # every second one a tie
    expected = primitive_of("quantize").reference_int8(layer, [x], {}, codes)
    np.testing.assert_array_equal(lowered(layer, [x], {}, codes, x.shape), expected)


@pytest.mark.parametrize("kind", ["add", "mul"])
def test_every_pair_of_codes_is_bit_equal_to_onnx_runtime(kind: str) -> None:
    rng = np.random.default_rng(5)
    pairs = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    inputs = [values.reshape(1, 1, 256, 256) for values in pairs]
    layer = Layer("pairs", kind, ("a", "b"), (1, 256, 256), (1, 256, 256), "int8")
    # The first set has an exact tie, where one fused multiply-add more or less decides.
    sets = [(Scale(0.06290324032306671, 125), Scale(0.04788261279463768, 123), Scale(0.04330270737409592, 0))]
    for _ in range(12):
        drawn = rng.uniform(0.005, 0.1, 3).astype(np.float32)
        sets.append(tuple(Scale(float(s), int(rng.integers(0, 256))) for s in drawn))  # type: ignore[arg-type]
    for a, b, y in sets:
        codes = Codes((a, b), y)
        expected = primitive_of(kind).reference_int8(layer, inputs, {}, codes)
        np.testing.assert_array_equal(lowered(layer, inputs, {}, codes, expected.shape), expected)
