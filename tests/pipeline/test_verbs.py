"""Every verb of the pipeline as a command of its own, with --json, on the null device; then the host for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.cli.main import main
from tests.pipeline.runs import run_file


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_file(tmp_path_factory.mktemp("verbs"))


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON that a command prints on standard output, alone."""
    code, said = main([*arguments, "--json"]), capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def test_measure_prints_the_grade_of_every_table(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = answer(capsys, "measure", str(path))
    assert [line["measured"] > 0 for line in first["lines"]] == [True, True]
    for line in first["lines"]:
        assert line["mape"] == pytest.approx(0, abs=1e-9) and line["spearman"] == pytest.approx(1)
        assert line["baseline_mape"] > 0 and line["n_test"] >= 4
    again = answer(capsys, "measure", str(path))
    assert [line["measured"] for line in again["lines"]] == [0, 0]


def test_train_prints_where_the_supernet_is_and_what_it_can_do(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = answer(capsys, "train", str(path))
    assert Path(said["supernet"]).exists() and set(said["validation_accuracy"]) == {"int8 largest", "int8 smallest"}


@pytest.mark.slow
def test_train_by_torchrun_is_shared_by_two_processes(tmp_path: Path, repository: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "hwnas", "train", str(run_file(tmp_path)), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=200)
    assert done.returncode == 0, done.stderr
    assert Path(json.loads(done.stdout)["supernet"]).exists(), "one process prints, alone"


def test_search_prints_the_pick_within_the_limit(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (target,) = answer(capsys, "search", str(path), "--limit", "latency_us=3.0", "--limit", "size_kb=40")
    low, high = target["reachable"]["latency"]
    assert low <= target["pick"]["costs"]["latency"] <= 3.0 < high
    assert target["pick"]["costs"]["size"] <= 40_000


def test_export_and_verify_print_the_files(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported = answer(capsys, "export", str(path))
    assert [Path(one["file"]).name for one in exported] == ["model.int8.onnx", "model.fp32.onnx", "native-fp32"]
    verified = answer(capsys, "verify", str(path))
    assert all(one["ok"] for one in verified) and verified[0]["differing_outputs"] == 0


def test_verify_takes_one_file_too_and_refuses_a_truncated_one(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = path.parent / "runs" / "tiny" / "export" / "int8-onnxruntime"
    assert answer(capsys, "verify", str(folder / "model.int8.onnx"))["differing_outputs"] == 0
    cut = folder / "cut.onnx"
    cut.write_bytes((folder / "model.int8.onnx").read_bytes()[:2000])
    assert main(["verify", str(cut), "--samples", str(folder / "expected.int8.npz")]) == 2
    assert "cut.onnx does not run" in capsys.readouterr().err
    wrong = folder / "wrong.npz"
    held = dict(np.load(folder / "expected.int8.npz"))
    np.savez(wrong, **{**held, "expected": held["expected"] + 1})
    assert main(["verify", str(folder / "model.int8.onnx"), "--samples", str(wrong)]) == 1
    assert "does not give the expected outputs" in capsys.readouterr().err


def test_run_and_report_print_the_same_results(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = answer(capsys, "run", str(path))
    shown = answer(capsys, "report", str(path.parent / "runs" / "tiny"))
    assert shown["targets"] == results["targets"] and Path(shown["report"]).exists()


def test_a_mixed_target_searches_precision_a_block_under_four_limits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = {"latency_us": 100.0, "size_kb": 100.0, "peak_memory_kb": 100.0, "energy_uj": 100.0}
    mixed = run_file(tmp_path, limits=limits, targets=[{"precision": "mixed", "engine": "onnxruntime"}])
    (target,) = answer(capsys, "search", str(mixed))
    assert set(target["pick"]["costs"]) == {"latency", "size", "peak_memory", "energy"}


def test_a_winner_measured_above_its_limit_fails_the_run_and_says_by_how_much(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hwnas.engines.null import Engine as NullEngine
    from hwnas.engines.null import priced

    for name in ("tables", "runs"):
        shutil.copytree(path.parent / name, tmp_path / name)
    honest = NullEngine.network
    monkeypatch.setattr(
        NullEngine, "network", lambda self, n, *at: priced(2 * honest(self, n, *at).options["latency_us"], 1.0)
    )
    assert main(["run", str(run_file(tmp_path)), "--limit", "latency_us=4.0"]) == 1
    assert "latency over by" in capsys.readouterr().err
    assert (tmp_path / "runs" / "tiny" / "results.json").exists(), "the results are kept"


@pytest.mark.slow
def test_this_machine_runs_int8_and_1_bit_through_both_engines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = [
        {"precision": "fp32", "engine": "onnxruntime"},  # its twin runs in an engine without a table of fp32
        {"precision": "int8", "engine": "onnxruntime"},
        {"precision": "int8", "engine": "tvm"},
        {"precision": "w1a1", "engine": "tvm"},
        {"precision": "mixed", "engine": "tvm"},
    ]
    path = run_file(tmp_path, device="local", limits={"size_mb": 100}, targets=targets)  # no noise decides
    results = answer(capsys, "run", str(path))
    for target in results["targets"]:
        winner = target["rows"][0]
        assert winner["measured_us"] > 0 and winner["verified"].startswith("ok")
        if target["precision"] == "int8":
            assert "bit-equal" in winner["verified"], "integers all the way"


@pytest.mark.slow
def test_the_teaching_twin_runs(repository: Path) -> None:
    command = [sys.executable, str(repository / "examples" / "tiny.py")]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=repository, env={"PYTHONPATH": str(repository), "PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert "bit-equal on 359 samples" in done.stdout
    assert len((repository / "examples" / "tiny.py").read_text().splitlines()) <= 150


def test_scores_do_not_depend_on_the_order_they_are_asked_in(path: Path) -> None:
    from hwnas.pipeline import learning
    from hwnas.pipeline.config import read_run_file
    from hwnas.pipeline.job import Job
    from hwnas.pipeline.parts import Parts
    from hwnas.pipeline.scoring import scorer

    job = Job(read_run_file(path), progress=False)
    net = learning.train_supernet(job)
    drawn = [job.space.random(np.random.default_rng(i)) for i in range(4)]
    target = job.config.targets[0]
    parts = Parts(job, target, {"net": lambda: net})
    first = scorer(job, parts, target)(drawn)
    assert first.shape == (4, 2) and (first[:, 1] > 0).all(), "accuracy and loss"
    job.path("scores.json").unlink()
    np.testing.assert_array_equal(first, scorer(job, parts, target)(drawn[::-1])[::-1])
