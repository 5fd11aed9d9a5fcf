"""Whatever a person can get wrong: one line on standard error that names it and the way out, exit 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.cli.main import main
from tests.pipeline.runs import run_file


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a refused command."""
    assert main(list(arguments)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"devcie": "local"}, "unknown key 'devcie'; nearest: device"),
        ({"train": {"epoch": 3}}, "unknown key 'train.epoch'; nearest: epochs"),
        ({"targets": [{"precision": "int8", "engine": "onnxruntime", "x": 1}]}, "unknown key 'targets.0.x'"),
        ({"device": "raspberry-pi-6"}, "unknown device 'raspberry-pi-6'; nearest: raspberry-pi-"),
        ({"device": None, "name": None}, "name must be given"),
        ({"limits": {"latency_us": 0}}, "limit latency_us must be a finite number above 0, got 0"),
        ({"limits": {"latency_us": float("nan")}}, "must be a finite number above 0"),
        ({"limits": {"latency_us": "fast"}}, "limit latency_us must be a number, got 'fast'"),
        ({"limits": {"latensy_us": 5}}, "unknown limit 'latensy_us'; nearest: latency_us"),
        ({"limits": {}}, "give at least one limit"),
        ({"limits": {"latency_us": 1, "latency_ms": 1}}, "the same quantity is limited twice"),
        ({"limits": {"latency_us": 0.001}}, "the smallest reachable is"),
        ({"limits": {"size_bytes": 10}}, "the smallest reachable is"),
        ({"targets": []}, "targets"),
        ({"targets": [{"precision": "int4", "engine": "onnxruntime"}]}, "targets.0.precision"),
        ({"space": {"use": "resnet_binari"}}, "cannot import 'resnet_binari'; nearest: resnet_binary"),
        ({"space": {"use": "resnet_binary", "width": [8]}}, "unknown key 'width'; nearest: widths"),
        ({"space": {"use": "resnet_binary", "kernels": [2]}}, "kernels must be odd"),
        ({"data": {"use": "npz", "path": "nowhere.npz"}}, "nowhere.npz does not exist"),
        ({"train": {"rule": {"use": "rule.sandwhich:Sandwich"}}}, "nearest: rule.sandwich"),
        ({"train": {"rule": {"use": "rule.sandwich:Sandwich", "paths": 3}}}, "unknown key 'paths'"),
        ({"search": {"sampler": {"use": "search.nsga3:NSGA3"}}}, "nearest: search.nsga2"),
        ({"train": {"epochs": 0}}, "train.epochs"),
        ({"tables": "/proc/nothing"}, "cannot write"),
        ({"out": "/proc/nothing"}, "cannot write"),
    ],
)
def test_a_wrong_run_file_is_refused(
    changes: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(capsys, "run", str(run_file(tmp_path, **changes)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: [tiny", "bad.yaml:1:12 is not valid YAML"),
        ("- a\n- b\n", "must hold keys"),
        ("", "must hold keys"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_malformed_yaml_is_refused_by_line(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert told in refused(capsys, "run", str(path))


def test_a_run_file_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.yaml does not exist" in refused(capsys, "run", "nowhere.yaml")


@pytest.mark.parametrize("text", ["latency_us", "latency_us=soon", "=3"])
def test_a_malformed_limit_option_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "run", str(run_file(tmp_path)), "--limit", text)


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (np.zeros((30, 1, 8, 8)), np.zeros(30, int), "one class only"),
        (np.full((30, 1, 8, 8), np.nan), np.arange(30) % 3, "30 images have NaN"),
    ],
)
def test_a_data_set_that_cannot_train_is_refused(
    images: np.ndarray, labels: np.ndarray, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    assert told in refused(capsys, "run", str(run_file(tmp_path, data={"use": "npz", "path": str(tmp_path / "a.npz")})))


@pytest.mark.parametrize(
    ("old", "new"), [("ok", "maybe"), (",ok,,", ",ok,,nan"), (",ok,,", ",ok,,-"), (",ok,,", ",ok,,fast")]
)
def test_a_table_row_that_is_no_measurement_is_refused_by_line_and_left_alone(
    old: str, new: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_file(tmp_path)
    assert main(["measure", str(path)]) == 0
    table = tmp_path / "tables/null/onnxruntime-int8.csv"
    spoilt = table.read_text().replace(old, new, 1)
    assert spoilt != table.read_text()
    table.write_text(spoilt)
    capsys.readouterr()
    assert "onnxruntime-int8.csv:" in refused(capsys, "search", str(path))
    assert table.read_text() == spoilt


def test_a_truncated_supernet_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_file(tmp_path)
    assert main(["train", str(path)]) == 0
    supernet = tmp_path / "runs/tiny/supernet.pt"
    supernet.write_bytes(supernet.read_bytes()[:2000])
    capsys.readouterr()
    assert "supernet.pt is truncated or not a checkpoint" in refused(capsys, "run", str(path))
