"""TangleNAS in a run: entangled choices trained, decoded by argmax, exported to ONNX and to a library, verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas import load_native
from hwnas.cli.main import main
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from hwnas.pipeline.learning import make_rule
from hwnas.train import load_state
from tests.pipeline.runs import run_file

CHANGES: dict[str, Any] = {
    "space": {
        "use": "mobile", "resolutions": [8], "stem_width": 6, "stem_stride": 1, "widths": [[8, 12], [14, 18]],
        "depths": [1, 2], "strides": [2, 2], "kernels": [3, 5], "expansions": [2, 3], "precisions": ["fp32", "int8"],
    },
    "train": {
        "epochs": 2, "batch_size": 128, "rule": {"use": "rule.tanglenas", "alpha_rate": 0.1}, "finetune_epochs": 1,
    },
    "search": {"decoder": {"use": "decoder.argmax"}, "recalibration_images": 64},
    "card": {"fit": 5, "test": 5},
}  # fmt: skip


def test_what_tanglenas_learnt_is_decoded_from_the_kept_state_alone(tmp_path: Path) -> None:
    path = run_file(tmp_path, **CHANGES)
    assert main(["search", str(path)]) == 0
    folder = tmp_path / "runs" / "tiny"
    alpha = load_state(folder / "supernet.pt")["rule"]["alpha"]
    picked = json.loads((folder / "search-int8-onnxruntime.json").read_text())["value"]["pick"]["architecture"]
    space = Job(read_run_file(path)).space
    assert {"s0.width", "s1.depth", "s0.b1.kernel", "s1.b0.expansion", "s1.b1.se"} <= alpha.keys()
    for name, weights in alpha.items():
        assert picked[name] == space.by_name[name].options[int(weights.argmax())]


@pytest.mark.slow
def test_a_run_ends_with_a_library_of_the_found_net(tmp_path: Path) -> None:
    targets = [{"precision": "int8", "engine": "tvm"}, {"precision": "int8", "engine": "onnxruntime"}]
    path = run_file(tmp_path, **CHANGES, targets=targets)
    assert main(["run", str(path)]) == 0
    export = tmp_path / "runs" / "tiny" / "export"
    with np.load(export / "int8-tvm" / "expected.int8.npz") as held:
        images, expected = held["images"], held["expected"]
    np.testing.assert_array_equal(load_native(export / "int8-tvm" / "native-int8")(images), expected)
    assert list((export / "int8-onnxruntime").glob("*.onnx"))


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"relax": ["s0.b0.kernal"]}, "unknown choice of space 'mobile'"),
        ({"relax": ["*.precision"]}, "precision cannot be mixed"),
        ({"weighting": "gumbel"}, "unknown weighting 'gumbel'"),
        ({"weigthing": "softmax"}, "unknown key 'weigthing'; nearest: weighting"),
    ],
)
def test_a_wrong_setting_is_one_line_before_anything_is_measured(
    rule: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_file(tmp_path, **CHANGES | {"train": {"epochs": 1, "rule": {"use": "rule.tanglenas", **rule}}})
    assert main(["run", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and told in said and not (tmp_path / "tables").exists()


def test_the_example_is_a_run_file_whose_rule_can_be_made(repository: Path) -> None:
    rule = make_rule(Job(read_run_file(repository / "examples" / "tanglenas.yaml")))
    assert any(run.masks for run in rule.superposition.runs)  # type: ignore[attr-defined]
