"""Verification in a fresh process: equal files pass, changed ones fail, broken ones are one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.cli.main import main
from hwnas.errors import HwnasError
from hwnas.export.expected import Expected, read
from hwnas.export.native.emulate import missing_emulator
from hwnas.export.onnx import save, to_onnx
from hwnas.export.quantise import QuantisedNet, calibrate, fold
from hwnas.export.verify import EXACT, ROUNDING, Tolerance, VerifyResult, compared, tolerance_for, verify
from tests.export.nets import images, network, parameters
from tests.native.test_ends import arrays_of, codes_in_and_out, expected_of, two_towers


@pytest.fixture(scope="module")
def integer_net() -> QuantisedNet:
    net = network("int8", "int8")
    return calibrate(fold(net, parameters(net)), images(16), weight_bits=7)  # exact on every x86


def test_an_int8_file_is_bit_equal_to_its_reference(integer_net: QuantisedNet, tmp_path: Path) -> None:
    save(to_onnx(integer_net), tmp_path / "net.onnx")
    x, labels = images(40, seed=2), np.arange(40) % 10
    assert tolerance_for(integer_net, library=True) == EXACT
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
    assert (tolerance_for(quantised).steps == 0) == (precision == "fp32") and not tolerance_for(quantised, True).exact
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
    assert not verify(tmp_path / "net.onnx", x, None, expected, Tolerance(1e9, 100.0)).ok


def test_a_native_library_is_verified_the_same_way(tmp_path: Path) -> None:
    pytest.importorskip("tvm", reason="the native exporter needs apache-tvm")
    from hwnas.export.native import compile_onnx

    net = network("int8", "int8")
    quantised = calibrate(fold(net, parameters(net)), images(16))
    compile_onnx(to_onnx(quantised), "host", tmp_path / "native", cache=tmp_path / "cache")
    x = images(20, seed=2)
    result = verify(tmp_path / "native", x, None, quantised(x), EXACT)
    assert result.ok and result.runtime.startswith("native")


# -- several inputs and outputs, of any rank and type --------------------------------------------------------------


def counted() -> onnx.ModelProto:
    """Ends without an axis for a batch, a number alone, and whole numbers of 64 bits."""
    node = helper.make_node
    nodes = [node("Gather", ["table", "places"], ["found"]), node("Mul", ["found", "factor"], ["scaled"])]
    nodes += [node("ReduceSum", ["scaled"], ["total"], keepdims=0), node("Add", ["places", "most"], ["raised"])]
    floats, whole = TensorProto.FLOAT, TensorProto.INT64
    held = {"table": np.arange(12, dtype=np.float32).reshape(4, 3), "most": np.array(2**62, np.int64)}
    ends = [("places", whole, (2,)), ("factor", floats, ())], [
        ("total", floats, ()), ("raised", whole, (2,)), ("scaled", floats, (2, 3)),
    ]  # fmt: skip
    inputs, outputs = ([helper.make_tensor_value_info(*end) for end in listed] for listed in ends)
    tables = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "counted", inputs, outputs, tables)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_ends_without_a_batch_and_whole_numbers_are_compared_as_they_are(tmp_path: Path) -> None:
    save(counted(), tmp_path / "net.onnx")
    places, factor = np.array([[0, 1], [3, 2], [1, 1]]), np.array([1, -2, 0.5], np.float32)
    scaled = np.arange(12, dtype=np.float32).reshape(4, 3)[places] * factor[:, None, None]
    expected = {"total": scaled.sum(axis=(1, 2)), "raised": places + 2**62, "scaled": scaled}
    given = {"places": places, "factor": factor}
    assert verify(tmp_path / "net.onnx", given, None, expected, Tolerance(ROUNDING, 0.0), None).ok
    off = {**expected, "raised": expected["raised"] + np.array([[0, 0], [0, 1], [0, 0]])}
    found = verify(tmp_path / "net.onnx", given, None, off, Tolerance(ROUNDING, 0.0), None)
    assert not found.ok and found.differing_outputs == 1, "one of 2^62 is less than a float64 tells apart"


@pytest.mark.parametrize("make", [two_towers, codes_in_and_out])
@pytest.mark.parametrize("target", ["onnx", "host", pytest.param("aarch64", marks=pytest.mark.slow)])
def test_ends_of_any_rank_and_type_are_verified_by_name(
    make: Callable[[], onnx.ModelProto], target: str, tmp_path: Path
) -> None:
    model, artefact = make(), tmp_path / "net.onnx"
    save(model, artefact)
    if target != "onnx":
        pytest.importorskip("tvm", reason="the native exporter needs apache-tvm")
        from hwnas.export.native import compile_onnx

        if missing_emulator(target):
            pytest.skip(f"no {missing_emulator(target)} on PATH")
        artefact = compile_onnx(model, target, tmp_path / "native", cache=tmp_path / "cache").folder
    given = dict(zip([end.name for end in model.graph.input], arrays_of(model, 3, batch=4), strict=True))
    names = [end.name for end in model.graph.output]
    rows = [expected_of(model, [array[i : i + 1] for array in given.values()]) for i in range(4)]
    expected = {name: np.concatenate(made) for name, made in zip(names, zip(*rows, strict=True), strict=True)}
    bound = EXACT if make is codes_in_and_out else Tolerance(ROUNDING, 0.0)
    backwards = dict(reversed(given.items()))
    assert verify(artefact, backwards, None, dict(reversed(expected.items())), bound, None).ok
    for name in names:
        wrong = {**expected, name: np.roll(expected[name], 1, axis=-1)}
        assert not verify(artefact, given, None, wrong, bound, None).ok, name


def test_an_output_is_judged_by_its_own_spread() -> None:
    rng = np.random.default_rng(0)
    expected = {"small": rng.standard_normal((50, 3)), "great": 1e6 * rng.standard_normal((50, 3))}
    off = {**expected, "small": expected["small"] + 0.5}
    assert compared(Path("a"), "any", expected, None, expected, EXACT, None).ok
    assert not compared(Path("a"), "any", off, None, expected, Tolerance(ROUNDING, 0.0), None).ok


def test_an_expected_output_that_is_no_number_fails_with_numbers_that_json_has() -> None:
    expected = np.array([[1.0, np.nan], [2.0, 3.0]])
    found = compared(Path("a"), "any", expected, None, expected, EXACT, None)
    assert not found.ok
    json.dumps(found.record(), allow_nan=False)


def test_samples_come_back_as_they_were_written_and_old_ones_are_read(tmp_path: Path) -> None:
    x, y = np.arange(6, dtype=np.int64).reshape(3, 2), np.arange(3, dtype=np.float32)
    Expected({"a": x, "b": y}, None, {"file": y}, {"onnx": 1}).write(tmp_path / "new.npz")
    found = read(tmp_path / "new.npz")
    assert found.tolerance == {"onnx": 1} and found.targets is None and list(found.outputs) == ["file"]
    assert isinstance(found.inputs, dict) and found.inputs["a"].dtype == np.int64
    np.testing.assert_array_equal(found.inputs["a"], x)
    np.savez(tmp_path / "old.npz", images=x, labels=x[:, 0], expected=y)
    old = read(tmp_path / "old.npz")
    assert isinstance(old.inputs, np.ndarray) and isinstance(old.outputs, np.ndarray) and old.tolerance is None
    np.savez(tmp_path / "none.npz", labels=x[:, 0], expected=y)
    with pytest.raises(HwnasError, match="images is not in it"):
        read(tmp_path / "none.npz")
    np.savez(tmp_path / "both.npz", **{"images": x, "input/a": x, "expected": y})
    with pytest.raises(HwnasError, match="images is the only one of its kind, and input/a is there too"):
        read(tmp_path / "both.npz")
    np.savez(tmp_path / "short.npz", **{"input/a": x, "input/b": y[:2], "expected": y})
    with pytest.raises(HwnasError, match="as many"):
        read(tmp_path / "short.npz")


# -- tolerances: another build passes, a wrong file does not ----------------------------------------------------

NETS = [("int8", "int8"), ("fp32", "fp32"), ("w1a1", "fp32"), ("w1a1", "int8"), ("int8", "fp32")]


def quantised_net(precision: str, ends: str) -> QuantisedNet:
    net = network(precision, ends)
    return calibrate(fold(net, parameters(net)), images(64), weight_bits=7)


def outputs(model: onnx.ModelProto, x: np.ndarray, level: str = "ORT_ENABLE_ALL") -> np.ndarray:
    """What ONNX Runtime gives at one level of its optimisations, each with kernels and sums of its own."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": x[i : i + 50]})[0] for i in range(0, len(x), 50)])


def judged(net: QuantisedNet, got: np.ndarray, expected: np.ndarray) -> VerifyResult:
    return compared(Path("net.onnx"), "onnxruntime", got, None, expected, tolerance_for(net))


@pytest.mark.parametrize(("precision", "ends"), NETS)
def test_another_build_of_the_runtime_passes(precision: str, ends: str) -> None:
    """Without its optimisations ONNX Runtime computes int8 layers by float32 sums: far from the usual build."""
    net, x = quantised_net(precision, ends), images(200, seed=2)
    expected, model = net(x), to_onnx(net, batch=None)
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"):
        result = judged(net, outputs(model, x, level), expected)
        assert result.ok, f"{level}: {result}"


def negated_channel(array: np.ndarray) -> np.ndarray:
    return np.concatenate([-array[:1] if array.dtype != np.uint8 else 255 - array[:1], array[1:]])


def swapped_channels(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array[1:2], array[:1], array[2:]])


def transposed_kernel(array: np.ndarray) -> np.ndarray:
    return np.swapaxes(array, -1, -2)


def shifted_bias(array: np.ndarray) -> np.ndarray:
    """One value moved by the largest of all."""
    return np.concatenate([array[:1] + np.abs(array).max(), array[1:]]).astype(array.dtype)


@pytest.mark.parametrize(("precision", "ends"), NETS)
@pytest.mark.parametrize("mutation", [negated_channel, swapped_channels, transposed_kernel, shifted_bias])
def test_a_wrong_channel_lane_kernel_or_bias_fails_wherever_it_is(
    precision: str, ends: str, mutation: Callable[[np.ndarray], np.ndarray]
) -> None:
    net, x = quantised_net(precision, ends), images(200, seed=2)
    expected, model = net(x), to_onnx(net, batch=None)
    tried = 0
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        square = array.ndim == 4 and array.shape[-2] == array.shape[-1] > 1
        fits = {transposed_kernel: square, shifted_bias: array.ndim == 1}
        if not tensor.name.endswith(("weight", "bias")) or not fits.get(mutation, array.ndim > 1):
            continue
        if "se_" in tensor.name and precision == "w1a1":
            continue  # this net's gate is saturated on nearly every image: what feeds it hardly reaches the outputs
        held = tensor.SerializeToString()
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(mutation(array)), tensor.name))
        result = judged(net, outputs(model, x), expected)
        assert not result.ok, f"{tensor.name}: {result}"
        tensor.ParseFromString(held)
        tried += 1
    assert tried


def test_two_swapped_output_lanes_fail_however_many_steps_are_allowed() -> None:
    """A network so large that no image is expected to be equal: the outputs' own error over all samples tells."""
    rng = np.random.default_rng(0)
    expected = rng.standard_normal((500, 1000))
    loose = Tolerance(ROUNDING, 50.0)
    noisy = expected + 0.05 * rng.standard_normal(expected.shape)
    assert compared(Path("a"), "any", noisy, None, expected, loose).ok, "every image a little off: another build"
    swapped = noisy.copy()
    swapped[:, [3, 7]] = swapped[:, [7, 3]]
    assert not compared(Path("a"), "any", swapped, None, expected, loose).ok
    one = noisy.copy()
    one[3, 5] += 2.0
    assert not compared(Path("a"), "any", one, None, expected, loose).ok, "nor may a single output be far off"


def test_an_own_library_of_an_integer_net_must_be_equal_to_the_bit(integer_net: QuantisedNet) -> None:
    x = images(40, seed=2)
    expected = integer_net(x)
    got = expected.copy()
    got[0, 0] = np.nextafter(got[0, 0], np.float32(np.inf))
    assert not compared(Path("a"), "native", got, None, expected, tolerance_for(integer_net, library=True)).ok
    assert compared(Path("a"), "onnxruntime", got, None, expected, tolerance_for(integer_net)).ok


def test_a_file_alone_is_told_in_the_metric_of_its_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 2, 3, 3)) for name in ("x", "y"))
    node = helper.make_node("Relu", ["x"], ["y"])
    given, gives = ends
    graph = helper.make_graph([node], "maps", [given], [gives])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "maps.onnx")
    x = np.abs(np.random.default_rng(0).standard_normal((4, 2, 3, 3))).astype(np.float32)
    Expected(x, x.argmax(axis=1), x, {"onnx": {"rounding": 0.0, "steps": 0.0}}).write(tmp_path / "maps.npz")
    entry = {"files": {"maps.onnx": ""}, "task": {"use": "segment", "metric": "Dice"}, "samples": "maps.npz"}
    (tmp_path / "manifest.json").write_text(json.dumps({"maps": entry}))
    assert main(["verify", str(tmp_path / "maps.onnx")]) == 0
    printed = capsys.readouterr().out
    assert "Dice 100.00%" in printed and "accuracy" not in printed
