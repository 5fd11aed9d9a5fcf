"""Segmentation from images to a library: a relaxed trellis, best-path decoding, an image as the output, its metric."""

from __future__ import annotations

import importlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hwnas import load_native
from hwnas.cli.main import main
from hwnas.tasks.segment import Segment
from tests.pipeline.runs import run_file

CHANGES: dict[str, Any] = {
    "data": {"use": "pasted_digits", "train": 48, "validation": 16, "test": 16, "size": 32},
    "task": {"use": "segment"},
    "space": {"use": "auto_deeplab", "layers": 2, "strides": [4, 8], "width": 8, "operations": ["skip", "conv_3x3"]},
    "train": {
        "epochs": 2, "batch_size": 12, "rule": {"use": "rule.auto_deeplab", "search_from": 0.5}, "finetune_epochs": 1,
    },
    "search": {"decoder": {"use": "decoder.best_path"}, "recalibration_images": 32},
    "limits": {"latency_us": 20000.0},
    "targets": [{"precision": "int8", "engine": "tvm"}],
    "card": {"fit": 5, "test": 5},
}  # fmt: skip


@pytest.mark.slow
def test_a_run_ends_with_a_library_that_gives_a_map_of_classes(tmp_path: Path) -> None:
    path = run_file(tmp_path, **CHANGES)
    assert main(["run", str(path)]) == 0
    folder = tmp_path / "runs" / "tiny"
    results = json.loads((folder / "results.json").read_text())
    assert results["task"]["metric"] == "mIoU" and any("made of real pixels" in note for note in results["notes"])
    pick = json.loads((folder / "pick-int8-tvm.json").read_text())["architecture"]
    steps = itertools.pairwise([4, *(pick[f"stride.{layer}"] for layer in (1, 2))])
    assert all(b in (a // 2, a, 2 * a) for a, b in steps), "a path of single steps"
    export = folder / "export" / "int8-tvm"
    with np.load(export / "expected.int8.npz") as held:
        images, maps, expected = held["images"], held["labels"], held["expected"]
    scores = load_native(export / "native-int8")(images)
    assert scores.shape == (16, 11, 32, 32) and maps.shape == (16, 32, 32)
    np.testing.assert_array_equal(scores, expected)
    row = next(row for target in results["targets"] for row in target["rows"] if row["role"] == "winner")
    task = Segment()
    assert row["accuracy"] == pytest.approx(task.reduce(task.statistics(scores, maps)))


def test_an_export_is_told_in_the_metric_of_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [{"file": "maps.onnx", "size_bytes": 10, "expected_accuracy": 0.25}]
    monkeypatch.setattr(importlib.import_module("hwnas.cli.export"), "_winners", lambda *_: made)
    assert main(["export", str(run_file(tmp_path, **CHANGES))]) == 0
    assert "mIoU 25.00%" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sampler_searches_the_same_space(tmp_path: Path) -> None:
    """Paths need no rule of their own: any supernet method draws them, jumps and all."""
    search = {"sampler": {"use": "search.random_search"}, "budget": 3, "recalibration_images": 16}
    train = {"epochs": 1, "batch_size": 24, "rule": {"use": "rule.single_path"}}
    targets = [{"precision": "int8", "engine": "onnxruntime"}]
    changes = CHANGES | {"search": search, "train": train, "targets": targets, "limits": {"mmacs": 10}}
    path = run_file(tmp_path, **changes)
    assert main(["search", str(path)]) == 0
    found = json.loads((tmp_path / "runs" / "tiny" / "search-int8-onnxruntime.json").read_text())["value"]
    assert len(found["trials"]) >= 1


def test_the_example_is_a_run_file_that_reads(repository: Path) -> None:
    from hwnas.pipeline.config import read_run_file

    config = read_run_file(repository / "examples" / "segmentation.yaml")
    assert config.task == {"use": "segment"} and config.search.decoder == {"use": "decoder.best_path"}
    assert yaml.safe_load((repository / "examples" / "segmentation.yaml").read_text())["space"]["use"] == "auto_deeplab"
