"""The whole pipeline on the null device, first and in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from hwnas.cli.main import main

TINY = """
name: tiny
device: "null"
tables: {tables}
out: {out}
data: {{use: digits}}
space:
  {{use: resnet_binary, resolutions: [8], stem_width: 8, stem_stride: 2, widths: [[8, 16]], depths: [1, 2],
   strides: [2], kernels: [3, 5]}}
train: {{epochs: 1, batch_size: 256, rule: {{use: "rule.single_path:SinglePath"}}}}
search: {{budget: 6, sampler: {{use: "search.random_search"}}, recalibration_images: 64}}
limits: {{latency_us: {limit}}}
targets: [{{precision: int8, engine: onnxruntime}}, {{precision: w1a1, engine: onnxruntime}}]
"""


def tiny_run_file(folder: Path, limit: float = 1000) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(TINY.format(tables=folder / "tables", out=folder / "runs", limit=limit))
    return path


def test_one_command_goes_from_a_profile_to_verified_models(tmp_path: Path) -> None:
    assert main(["run", str(tiny_run_file(tmp_path))]) == 0
    run = tmp_path / "runs" / "tiny"
    results = json.loads((run / "results.json").read_text())
    assert [
        (row["precision"], row["role"], row["engine"]) for target in results["targets"] for row in target["rows"]
    ] == [
        ("int8", "winner", "onnxruntime"), ("fp32", "fp32 twin", "onnxruntime"), ("fp32", "fp32 twin", "tvm"),
        ("w1a1", "winner", "onnxruntime"), ("fp32", "fp32 twin", "onnxruntime"), ("fp32", "fp32 twin", "tvm"),
    ]  # fmt: skip
    for target in results["targets"]:
        for row in target["rows"]:
            assert row["verified"].startswith("ok"), row
            assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
            assert row["test_images"] == results["dataset"]["test"]
            assert 0 < row["validation_loss"] < 10, "nats of logits, not of codes"
            for statistic in ("measured_us", "p50_us", "p90_us", "p99_us"):
                predicted = row["predicted_us"] or row["measured_us"]  # fp32 is predicted in one engine only
                assert predicted == pytest.approx(row[statistic]), "the null device is predicted exactly"
            if row["engine"] == "onnxruntime":
                onnx.checker.check_model(onnx.load(run / row["file"]))
            else:
                assert (run / row["file"] / "manifest.json").exists()
    assert set(results["drift"].values()) == {0.0}, "and does not drift"
    assert (run / results["ship"]["file"]).exists()
    assert "validation images" in results["ship"]["reason"]
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    manifest = json.loads((run / "export" / "w1a1-onnxruntime" / "manifest.json").read_text())
    assert set(manifest) == {"model.binary.onnx", "model.fp32.onnx", "native-fp32"}
    assert manifest["model.binary.onnx"]["measured_us"] > 0 and manifest["model.binary.onnx"]["files"]
