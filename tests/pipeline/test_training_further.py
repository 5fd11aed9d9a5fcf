"""Winners are trained further while it pays: never worse than what they inherit, and resumable to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.pipeline import learning
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from tests.pipeline.runs import run_file

TRAIN: dict[str, Any] = {"epochs": 8, "batch_size": 128, "rule": {"use": "rule.single_path:SinglePath"}}


def job_in(folder: Path, **train: Any) -> Job:
    return Job(read_run_file(run_file(folder, train={**TRAIN, **train})), progress=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("further")
    return folder, learning.train_supernet(job_in(folder))


def test_a_winner_is_trained_further_until_it_gives_no_more(trained: tuple[Path, Any], tmp_path: Path) -> None:
    _, net = trained
    job = job_in(tmp_path)
    winner = job.space.largest()
    assert "training 1 nets further: 8 epochs each at most" in str(learning.further_estimate(job, net, [winner]))
    found = learning.deployable(job, net, winner)
    record = found.record
    assert record["accuracy"] > record["inherited_accuracy"] and record["epochs"] > 0 and record["seconds"] > 0
    assert learning.evaluate(found.net, job.data, "validation").accuracy == record["accuracy"]
    again = learning.deployable(job_in(tmp_path), net, winner)
    assert again.record == record, "a finished one is read back"
    assert learning.further_estimate(job, net, [winner]) is None


def test_what_only_makes_it_worse_is_not_shipped(trained: tuple[Path, Any], tmp_path: Path) -> None:
    _, net = trained
    job = job_in(tmp_path, learning_rate=30.0, warmup=0)  # far too much: every round ruins the net
    inherited = learning.alone(job, net, job.space.smallest())
    found = learning.deployable(job, net, job.space.smallest())
    assert found.record["epochs"] == 0 and found.record["accuracy"] == found.record["inherited_accuracy"]
    assert all(torch.equal(v, inherited.state_dict()[n]) for n, v in found.net.state_dict().items())


def test_none_is_asked_for_and_none_is_done(trained: tuple[Path, Any], tmp_path: Path) -> None:
    _, net = trained
    job = job_in(tmp_path, finetune_epochs=0)
    assert learning.further_estimate(job, net, [job.space.smallest()]) is None
    assert learning.deployable(job, net, job.space.smallest()).record["epochs"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("moment", [2, 5])
def test_further_training_that_is_cut_off_ends_as_an_undisturbed_one(
    moment: int, trained: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, net = trained
    whole = learning.deployable(job_in(tmp_path / "whole"), net, job_in(tmp_path / "whole").space.largest())
    saved, done = learning.save_state, 0
    import hwnas.train

    def save_then_die(path: Path, state: Any) -> None:
        nonlocal done
        saved(path, state)
        done += 1
        if done == moment:
            raise KeyboardInterrupt

    job = job_in(tmp_path / "cut")
    with monkeypatch.context() as patched:
        patched.setattr(learning, "save_state", save_then_die)
        patched.setattr(hwnas.train, "save_state", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            learning.deployable(job, net, job.space.largest())
    resumed = learning.deployable(job, net, job.space.largest())
    assert {**resumed.record, "seconds": 0} == {**whole.record, "seconds": 0}
    assert all(torch.equal(v, whole.net.state_dict()[n]) for n, v in resumed.net.state_dict().items())


def test_what_a_person_should_know_of_the_data_is_said_and_reported(tmp_path: Path) -> None:
    from PIL import Image

    for i, size in enumerate([(12, 8), (9, 9)] * 6):
        path = tmp_path / "pictures" / f"class{i % 3}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (i * 20, 0, 0)).save(path)
    said: list[str] = []
    config = read_run_file(run_file(tmp_path, data={"use": "folder", "path": str(tmp_path / "pictures")}))
    job = Job(config, progress=False, say=said.append)
    assert job.data.facts["image_size"] == (8, 10)
    assert "the images differ in shape; scaled and cropped to 8x10" in said[0] and job.notes == [said[0][6:]]
