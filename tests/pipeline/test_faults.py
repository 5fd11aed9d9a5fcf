"""Killed, interrupted, out of space: the same command goes on, and ends where an undisturbed run ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hwnas.cli.main import main
from tests.pipeline.runs import picks, run_file, start


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main(["run", str(run_file(folder))]) == 0
    return folder


# Each is the file whose appearance shows how far the run has come.
MOMENTS = (
    "tables/null/onnxruntime-int8.csv",
    "runs/tiny/checkpoint.pt",
    "runs/tiny/scores.json",
    "runs/tiny/export/*/*.onnx",
)


def wait_for(pattern: str, folder: Path, process: subprocess.Popen[str], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not list(folder.glob(pattern)) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_at_any_moment_resumes_to_the_same_pick(moment: str, undisturbed: Path, tmp_path: Path) -> None:
    path = run_file(tmp_path)
    process = start("run", str(path), cwd=tmp_path)
    wait_for(moment, tmp_path, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert main(["run", str(path)]) == 0
    assert picks(tmp_path) == picks(undisturbed)
    name = "runs/tiny/export/int8-onnxruntime/model.int8.onnx"
    assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes(), "the same weights to the bit"


@pytest.mark.parametrize("moment", MOMENTS[1:])
def test_an_interrupt_is_one_line_that_names_what_is_kept(moment: str, tmp_path: Path) -> None:
    process = start(
        "run",
        str(run_file(tmp_path, train={"epochs": 200, "batch_size": 256} if "checkpoint" in moment else None)),
        cwd=tmp_path,
    )
    wait_for(moment, tmp_path, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the run ended before the signal came")
    assert process.returncode == 2, errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: interrupted; kept: everything finished so far") and "Traceback" not in errors


def test_a_second_run_that_changes_only_the_limit_measures_nothing_and_trains_no_supernet(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import hwnas.train
    from hwnas.engines.null import Engine as NullEngine
    from hwnas.supernet import WeightSharing

    def refuse(*arguments: object) -> None:
        raise AssertionError("this run may not measure a block")

    for name in ("tables", "runs"):
        shutil.copytree(undisturbed / name, tmp_path / name)
    measured = NullEngine.network
    trained = hwnas.train.step

    def winners_alone(net: object, *rest: Any) -> float:
        assert not isinstance(net, WeightSharing), "this run may not train a supernet"
        return trained(net, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(hwnas.train, "step", winners_alone)
    monkeypatch.setattr("hwnas.measure.fill._fill", refuse)
    monkeypatch.setattr(NullEngine, "network", lambda self, network, *at: measured(self, network, *at))
    assert main(["run", str(run_file(tmp_path)), "--limit", "latency_us=2.9"]) == 0
    changed = picks(tmp_path)["pick-int8-onnxruntime.json"]
    assert changed["costs"]["latency"] <= 2.9
    capsys.readouterr()


def test_a_damaged_export_is_made_again(undisturbed: Path, tmp_path: Path) -> None:
    for name in ("tables", "runs"):
        shutil.copytree(undisturbed / name, tmp_path / name)
    model = tmp_path / "runs/tiny/export/int8-onnxruntime/model.int8.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    assert main(["run", str(run_file(tmp_path))]) == 0
    assert model.read_bytes() == whole


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_is_one_line_and_nothing_written_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        path = run_file(tmp_path, out=str(disk))
        assert main(["run", str(path)]) == 2
        errors = capsys.readouterr().err.strip().splitlines()
        assert "No space left on device" in errors[-1] and errors[-1].startswith("error: ")
        assert not list(disk.rglob("*.part")), "no half-written file is left"
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert main(["run", str(run_file(tmp_path))]) == 0, "the rows measured before are used"


@pytest.mark.slow
def test_a_second_command_in_the_same_folder_is_refused_and_nothing_trained_is_overwritten(tmp_path: Path) -> None:
    settings = {"batch_size": 64, "rule": {"use": "rule.single_path:SinglePath"}}
    first = start(
        "train", str(run_file(tmp_path / "a", out=str(tmp_path), train={"epochs": 2000, **settings})), cwd=tmp_path
    )
    wait_for("tiny/checkpoint.pt", tmp_path, first)
    second = start(
        "train", str(run_file(tmp_path / "b", out=str(tmp_path), train={"epochs": 1, **settings})), cwd=tmp_path
    )
    said = second.communicate(timeout=120)[1]
    assert first.poll() is None, "the first was still at work"
    assert second.returncode == 2 and "another hwnas command is at work in" in said
    first.kill()
    first.communicate()
    third = start(
        "train", str(run_file(tmp_path / "b", out=str(tmp_path), train={"epochs": 1, **settings})), cwd=tmp_path
    )
    assert third.communicate(timeout=120) and third.returncode == 0, "a killed one lets go"
    assert list((tmp_path / "tiny" / "earlier").glob("checkpoint-*.pt")), "and what it trained is kept"
