"""Where no kernel covers an operator: a refusal that names it, or ONNX Runtime where asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import hwnas
from hwnas.cli.main import main
from hwnas.errors import HwnasError


@pytest.fixture
def sign(tmp_path: Path) -> Path:
    """A model whose only operator, Sign, has no kernel."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 4]) for name in ("input", "output")]
    graph = helper.make_graph(
        [helper.make_node("Sign", ["input"], ["output"], "direction")], "sign", ends[:1], ends[1:]
    )
    path = tmp_path / "sign.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def test_an_uncovered_operator_is_refused_by_node_and_name(
    sign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(sign), "--format", "native", "--out", str(tmp_path / "made")]) == 2
    error = capsys.readouterr().err
    assert "direction" in error and "Sign" in error and not (tmp_path / "made").exists()


def test_where_asked_the_model_is_kept_for_onnx_runtime(
    sign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(sign), "--format", "native", "--fallback", "--out", str(tmp_path / "made")]) == 0
    said = capsys.readouterr().err
    assert "kept for ONNX Runtime: node 'direction'" in said and "compiled for" not in said and "--fallback" not in said
    batch = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(hwnas.load_native(tmp_path / "made")(batch), np.sign(batch), atol=1e-6)


def test_verify_takes_a_persons_own_samples_with_the_tolerance_that_its_hint_tells(
    sign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a model that is kept for ONNX Runtime, and for a library of floats, whose last bits may differ."""
    soft, shape = tmp_path / "soft.onnx", [1, 3, 4, 4]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Softmax", ["input"], ["output"], axis=3)], "soft", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), soft)
    images = np.random.default_rng(0).standard_normal((6, 3, 4, 4)).astype(np.float32)
    powers = np.exp(images.astype(np.float64))
    truth = {sign: np.sign(images), soft: (powers / powers.sum(3, keepdims=True)).astype(np.float32)}
    for model, expected in truth.items():
        folder, samples = tmp_path / f"{model.stem}-made", tmp_path / f"{model.stem}.npz"
        assert main(["export", str(model), "--format", "native", "--fallback", "--out", str(folder)]) == 0
        np.savez(samples, images=images, expected=expected)
        capsys.readouterr()
        assert main(["verify", str(folder), "--samples", str(samples)]) == 2
        hint = capsys.readouterr().err
        tolerance = json.loads(hint[hint.index("{") : hint.rindex("}") + 1].replace("\n", " "))
        np.savez(samples, images=images, expected=expected, tolerance=json.dumps(tolerance))
        assert main(["verify", str(folder), "--samples", str(samples)]) == 0
        np.savez(samples, images=images, expected=expected + 1, tolerance=json.dumps(tolerance))
        assert main(["verify", str(folder), "--samples", str(samples)]) == 1
    assert main(["verify", str(tmp_path / "soft-made" / "libmodel.so")]) == 2
    assert "give its folder" in capsys.readouterr().err


def test_a_model_that_no_engine_runs_is_refused_all_the_same(
    sign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(sign.read_bytes()[:40])
    assert main(["export", str(cut), "--format", "native", "--fallback", "--out", str(tmp_path / "made")]) == 2
    assert "cut.onnx" in capsys.readouterr().err and not (tmp_path / "made").exists()


def test_a_kept_model_replaces_nothing_but_its_like(sign: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    command = ["export", str(sign), "--format", "native", "--fallback", "--out", str(folder)]
    folder.mkdir()
    (folder / "model.onnx").write_text("the user's own")
    assert main(command) == 2
    assert [path.read_text() for path in folder.iterdir()] == ["the user's own"]
    (folder / "model.onnx").unlink()
    assert main(command) == 0 and main(command) == 0
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "manifest.json"}


def test_a_kept_model_that_was_changed_is_refused(sign: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    assert main(["export", str(sign), "--format", "native", "--fallback", "--out", str(folder)]) == 0
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(HwnasError, match="not the file that was exported"):
        hwnas.load_native(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(HwnasError, match=r"has no file model\.onnx"):
        hwnas.load_native(folder)
    (folder / "manifest.json").write_text('{"schema": 1, "engine": "onnxruntime", "files": []}')
    with pytest.raises(HwnasError):
        hwnas.load_native(folder)


def test_a_kept_model_of_several_inputs_takes_a_tuple_or_a_dict(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 5]) for name in ("a", "b", "c", "d")]
    nodes = [helper.make_node("Sign", ["a"], ["c"]), helper.make_node("Add", ["a", "b"], ["d"])]
    model = helper.make_model(
        helper.make_graph(nodes, "two", ends[:2], ends[2:]), opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    onnx.save(model, tmp_path / "two.onnx")
    out = ["--format", "native", "--fallback", "--out", str(tmp_path / "made")]
    assert main(["export", str(tmp_path / "two.onnx"), *out]) == 0
    kept = hwnas.load_native(tmp_path / "made")
    a, b = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
    for outputs in (kept((a, b)), kept({"b": b, "a": a})):
        np.testing.assert_array_equal(outputs[1], a + b)
