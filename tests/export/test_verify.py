"""Verification in a fresh process: equal files pass, changed ones fail, broken ones are one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hwnas.errors import HwnasError
from hwnas.export.onnx import save, to_onnx
from hwnas.export.quantise import QuantisedNet, calibrate, fold
from hwnas.export.verify import EXACT, ROUNDING, STEPS, tolerance_for, verify
from tests.export.nets import images, network, parameters


@pytest.fixture(scope="module")
def integer_net() -> QuantisedNet:
    net = network("int8", "int8")
    return calibrate(fold(net, parameters(net)), images(16))


def test_an_int8_file_is_bit_equal_to_its_reference(integer_net: QuantisedNet, tmp_path: Path) -> None:
    save(to_onnx(integer_net), tmp_path / "net.onnx")
    x, labels = images(40, seed=2), np.arange(40) % 10
    assert tolerance_for(integer_net) == EXACT
    result = verify(tmp_path / "net.onnx", x, labels, integer_net(x), EXACT)
    assert result.ok and result.differing_outputs == 0 and result.samples == 40
    assert result.accuracy == result.expected_accuracy
    assert "bit-equal on 40 samples" in str(result)


@pytest.mark.parametrize("precision", ["fp32", "w1a1"])
def test_float_sums_are_compared_with_a_tolerance(precision: str, tmp_path: Path) -> None:
    net = network(precision)
    quantised = calibrate(fold(net, parameters(net)), images(4))
    save(to_onnx(quantised, batch=None), tmp_path / "net.onnx")
    x = images(30, seed=2)
    assert tolerance_for(quantised) == (ROUNDING if precision == "fp32" else STEPS)
    assert verify(tmp_path / "net.onnx", x, None, quantised(x), tolerance_for(quantised)).ok


def test_one_changed_weight_fails(integer_net: QuantisedNet, tmp_path: Path) -> None:
    model = to_onnx(integer_net)
    head = next(init for init in model.graph.initializer if init.name == "head.dense.weight")
    weight = numpy_helper.to_array(head).copy()
    weight[0, 0] += 1 if weight[0, 0] < 100 else -100
    weight[0, 1:4] = -weight[0, 1:4]
    head.CopyFrom(numpy_helper.from_array(weight, head.name))
    save(model, tmp_path / "net.onnx")
    x = images(20, seed=2)
    result = verify(tmp_path / "net.onnx", x, None, integer_net(x), EXACT)
    assert not result.ok and result.differing_outputs > 0 and str(result).startswith("FAILED")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(integer_net: QuantisedNet, tmp_path: Path, share: float) -> None:
    data = to_onnx(integer_net).SerializeToString()
    path = tmp_path / "net.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    x = images(2)
    with pytest.raises(HwnasError, match="does not run") as caught:
        verify(path, x, None, integer_net(x), EXACT)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="does not exist"):
        verify(tmp_path / "none.onnx", images(1), None, np.zeros((1, 10)), EXACT)


def test_a_file_with_other_outputs_is_refused(integer_net: QuantisedNet, tmp_path: Path) -> None:
    save(to_onnx(integer_net), tmp_path / "net.onnx")
    with pytest.raises(HwnasError, match=r"gives outputs \(2, 10\)"):
        verify(tmp_path / "net.onnx", images(2), None, np.zeros((2, 11), np.float32), EXACT)


def test_a_runtime_that_gives_nan_fails(tmp_path: Path) -> None:
    net = network("fp32")
    quantised = calibrate(fold(net, parameters(net)), images(4))
    x = images(3)
    expected = quantised(x)
    model = to_onnx(quantised)
    bias = next(init for init in model.graph.initializer if init.name == "head.dense.bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(10, np.nan, np.float32), bias.name))
    onnx.save(model, tmp_path / "net.onnx")
    assert not verify(tmp_path / "net.onnx", x, None, expected, STEPS).ok


def test_a_native_library_is_verified_the_same_way(tmp_path: Path) -> None:
    pytest.importorskip("tvm", reason="the native exporter needs apache-tvm")
    from hwnas.export.native import compile_onnx

    net = network("int8", "int8")
    quantised = calibrate(fold(net, parameters(net)), images(16))
    compile_onnx(to_onnx(quantised), "host", tmp_path / "native", cache=tmp_path / "cache")
    x = images(20, seed=2)
    result = verify(tmp_path / "native", x, None, quantised(x), EXACT)
    assert result.ok and result.runtime.startswith("native")
