"""A network with two inputs and two outputs goes from a run file to verified files, by the names of its ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.cli.main import main
from tests.pipeline.runs import SETTINGS, run_file, start

TOWERS = Path(__file__).parents[1] / "fixtures" / "towers"
ENDS = {
    "data": {"use": "pairs"}, "space": {"use": "two_towers"}, "task": {"use": "both"}, "plugins": ["towers"],
    "train": {"epochs": 10, "batch_size": 32, "learning_rate": 0.02, "warmup": 5, "finetune_epochs": 0,
              "rule": {"use": "rule.single_path"}},
    "search": {**SETTINGS["search"], "budget": 4},
    "targets": [{"precision": "int8", "engine": "tvm"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tvm", reason="kernels are compiled with apache-tvm")
    path = run_file(tmp_path_factory.mktemp("ends"), **ENDS)
    shutil.copytree(TOWERS, path.parent / "towers")
    process = start("run", str(path), cwd=path.parent)
    _, said = process.communicate()
    assert process.returncode == 0, said
    return path


@pytest.fixture
def towers(outside: Path) -> str:
    """The package for this process: a manifest names its task, which is found there."""
    shutil.copytree(TOWERS, outside, dirs_exist_ok=True)
    return outside.name


def export_of(run: Path) -> Path:
    return run.parent / "runs" / "tiny" / "export" / "int8-tvm"


@pytest.mark.slow
def test_every_file_is_verified_and_both_questions_are_learnt(run: Path) -> None:
    results: dict[str, Any] = json.loads((run.parent / "runs" / "tiny" / "results.json").read_text())
    rows = results["targets"][0]["rows"]
    assert [row["verified"][:3] for row in rows] == ["ok:", "ok:", "ok:"]
    assert {row["engine"] for row in rows} == {"tvm", "onnxruntime"}
    assert min(row["accuracy"] for row in rows) > 0.9, "the image alone would give (1 + 2/3) / 2"
    assert results["task"]["metric"] == "both accuracies"


@pytest.mark.slow
def test_inputs_and_outputs_are_in_the_manifest_the_model_the_library_and_the_samples_by_name(run: Path) -> None:
    import onnx

    entry = json.loads((export_of(run) / "manifest.json").read_text())["native-int8"]
    assert [(end["name"], end["shape"], end["type"]) for end in entry["inputs"]] == [
        ("image", [1, 1, 8, 8], "float32"), ("words", [1, 6], "int64"),
    ]  # fmt: skip
    assert [(end["name"], end["shape"]) for end in entry["outputs"]] == [("seen", [1, 3]), ("told", [1, 3])]
    graph = onnx.load(export_of(run) / "model.int8.onnx").graph
    assert [end.name for end in graph.input] == ["image", "words"]
    library = json.loads((export_of(run) / "native-int8" / "manifest.json").read_text())
    assert [end["name"] for end in library["outputs"]] == ["seen", "told"]
    with np.load(export_of(run) / "expected.int8.npz") as held:
        kinds = {name: (held[name].dtype.name, held[name].shape) for name in held.files if name != "tolerance"}
    assert kinds == {
        "input/image": ("float32", (48, 1, 8, 8)), "input/words": ("int64", (48, 6)), "labels": ("int64", (48, 2)),
        "expected/seen": ("float32", (48, 3)), "expected/told": ("float32", (48, 3)),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("file", ["native-int8", "model.int8.onnx", "native-fp32"])
def test_a_file_alone_is_verified_and_one_wrong_output_fails(
    file: str, run: Path, towers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artefact = export_of(run) / file
    assert main(["verify", str(artefact), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["samples"] == 48 and verdict["outputs"] == 48 * 6 and verdict["accuracy"] > 0.9
    name = "expected.int8.npz" if "int8" in file else "expected.fp32.npz"
    held = dict(np.load(export_of(run) / name))
    held["expected/told"] = held["expected/told"][:, ::-1]
    np.savez(tmp_path / "wrong.npz", **held)
    assert main(["verify", str(artefact), "--samples", str(tmp_path / "wrong.npz")]) == 1
    held["expected/asked"] = held.pop("expected/told")
    np.savez(tmp_path / "other.npz", **held)
    assert main(["verify", str(artefact), "--samples", str(tmp_path / "other.npz")]) == 2
    assert "gives outputs seen, told, the reference seen, asked" in " ".join(capsys.readouterr().err.split())
    held["input/picture"] = held.pop("input/image")
    np.savez(tmp_path / "inputs.npz", **held)
    assert main(["verify", str(artefact), "--samples", str(tmp_path / "inputs.npz")]) == 2
    assert "it takes image, words, samples have" in " ".join(capsys.readouterr().err.split())


def test_a_task_of_one_output_refuses_several_in_one_line(
    towers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(run_file(tmp_path, **{**ENDS, "task": {"use": "classify"}, "plugins": [towers]}))]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "task classify judges one output, the network gives seen, told" in said
