"""What every primitive promises: torch, numpy and ONNX agree, and the integer form is ONNX Runtime's bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwnas import ops
from hwnas.network import Layer
from hwnas.ops import primitive_of
from hwnas.ops.numeric.scales import Scale
from hwnas.ops.primitive import Codes
from hwnas.testing import contract
from hwnas.testing.onnx_runtime import lowered
from tests.ops.examples import FLOAT_ONLY, LAYERS, PIXELS

FOLDER = Path(ops.__file__).parent
INTEGER = [replace(layer, precision="int8") for layer in LAYERS if layer.kind not in FLOAT_ONLY]


# Conversions are neither float nor integer layers; they have tests of their own below.
test_every_layer_kind = contract("layer", *(layer for layer in LAYERS if "quantize" not in layer.kind), *INTEGER)


@pytest.mark.parametrize("kind", ["quantize", "dequantize"])
def test_a_conversion_computes_nothing_in_training(kind: str) -> None:
    layer = replace(next(layer for layer in LAYERS if layer.kind == kind), precision="fp32")
    x = np.random.default_rng(0).standard_normal((3, *layer.in_shape)).astype(np.float32)
    np.testing.assert_array_equal(primitive_of(kind).reference(layer, [x], {}), x)


def test_every_file_of_the_folder_has_an_example() -> None:
    kinds = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "primitive"}
    assert kinds == {layer.kind for layer in (*LAYERS, PIXELS)}


@pytest.mark.parametrize("zero_point", [0, 3, 128, 255])
def test_quantize_rounds_ties_as_onnx_runtime_does(zero_point: int) -> None:
    layer = next(layer for layer in LAYERS if layer.kind == "quantize")
    layer = replace(layer, in_shape=(1, 1, 4000), out_shape=(1, 1, 4000))
    codes = Codes((None,), Scale(0.25, zero_point))
    x = (np.arange(4000, dtype=np.float32) - 2000).reshape(1, 1, 1, 4000) * np.float32(0.125)  # every second one a tie
    expected = primitive_of("quantize").reference_int8(layer, [x], {}, codes)
    np.testing.assert_array_equal(lowered(layer, [x], {}, codes, expected), expected)


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
        np.testing.assert_array_equal(lowered(layer, inputs, {}, codes, expected), expected)
