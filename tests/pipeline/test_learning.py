"""What the run file says of training: a task, a wrapper around the supernet, a rule that searches while it trains."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.checkpoint import load_state
from hwnas.cli.main import main
from hwnas.errors import HwnasError
from hwnas.methods.rule.darts import Darts
from hwnas.pipeline import learning
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from hwnas.report.results import load_results
from hwnas.supernet import extract
from tests.pipeline.runs import SETTINGS, picks, run_file

WRAPPER = '''
import torch


class Scaled(torch.nn.Module):
    """The supernet with every tensor times `factor`."""

    def __init__(self, net, factor):
        super().__init__()
        self.net, self.factor = net, factor

    @property
    def space(self):
        return self.net.space

    def tensors(self, node, selection):
        return {name: self.factor * value for name, value in self.net.tensors(node, selection).items()}

    def forward(self, inputs, selection):
        held = self.net.tensors
        if self.factor != 1:  # a product lies in memory otherwise, and convolves to other last bits
            self.net.tensors = lambda node, selection: {n: self.factor * v for n, v in held(node, selection).items()}
        try:
            return self.net(inputs, selection)
        finally:
            self.net.__dict__.pop("tensors", None)


class Scale:
    def __init__(self, space, seed, factor=1.0):
        self.factor = factor

    def __call__(self, net):
        return Scaled(net, self.factor)


class Nothing:
    def __call__(self, net):
        return 3
'''
TASK = '''
import numpy as np

from hwnas.tasks.classify import Classify


class TopTwo(Classify):
    """Whether the label is among the two largest outputs, in marks of one hundred."""

    metric, unit = "top-2 marks", "marks"

    def statistics(self, outputs, targets):
        among = np.argsort(outputs.reshape(len(outputs), -1), axis=1)[:, -2:] == targets[:, None]
        return np.stack([100.0 * among.any(axis=1), super().statistics(outputs, targets)[:, -1]], axis=1)

    def baseline(self, data):
        return "guess", 20.0
'''
CELLS = {"use": "nas_bench_201", "width": 4, "cells": 1, "affine": False}


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run file's folder, where a user's own modules lie."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in (("my_wrapper", WRAPPER), ("my_task", TASK)):
        (tmp_path / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
    return tmp_path


def trained(folder: Path, **changes: Any) -> tuple[Job, Any]:
    """A job of the tiny run and its trained supernet."""
    job = Job(read_run_file(run_file(folder, **changes)), progress=False)
    return job, learning.train_supernet(job)


def settings(**changes: Any) -> dict[str, Any]:
    return {**SETTINGS["train"], **changes}


def test_a_wrapper_that_changes_nothing_trains_the_same_weights(beside: Path) -> None:
    plain, net = trained(beside / "plain")
    job, wrapped = trained(beside, train=settings(wrapper={"use": "my_wrapper:Scale"}))
    own = net.state_dict()
    for name, value in wrapped.state_dict().items():
        assert torch.equal(value, own[name.removeprefix("net.")])
    assert learning.identity(job) != learning.identity(plain)
    again = learning.train_supernet(Job(job.config, progress=False))
    assert type(again).__name__ == "Scaled", "a supernet that is read back is wrapped as well"


def test_extraction_asks_the_wrapper(beside: Path) -> None:
    job, net = trained(beside, train=settings(wrapper={"use": "my_wrapper:Scale", "factor": 0.5}, epochs=1))
    architecture = job.space.smallest()
    alone = extract(net, architecture).train()
    x = job.data.batch("train", slice(0, 32)).images
    torch.testing.assert_close(alone(x), net(x, architecture))
    held = load_state(job.path("supernet.pt"))["net"]
    name = next(iter(alone.own))
    whole = next(
        v for n, v in held.items() if n.endswith("/".join(name.split("/")[1:])) and v.shape == alone.own[name].shape
    )
    assert whole is not None


@pytest.mark.parametrize(
    ("wrapper", "words"),
    [
        ({"use": "my_wrapper:Nothing"}, "train.wrapper must give a supernet, got int"),
        ({"factor": 1}, "train.wrapper: 'use' must name a wrapper"),
        ({"use": "my_wrapper:Scale", "facto": 1}, "unknown key 'facto'; nearest: factor"),
    ],
)
def test_a_wrong_wrapper_is_refused_in_one_line(wrapper: dict[str, Any], words: str, beside: Path) -> None:
    with pytest.raises(HwnasError) as refused:
        trained(beside, train=settings(wrapper=wrapper))
    assert words in str(refused.value)


def test_label_smoothing_is_the_tasks_and_old_run_files_that_give_it_to_the_rule_train_the_same(tmp_path: Path) -> None:
    _, net = trained(tmp_path / "new", task={"use": "classify", "label_smoothing": 0.1})
    rule = {**SETTINGS["train"]["rule"], "label_smoothing": 0.1}
    _, other = trained(tmp_path / "old", train=settings(rule=rule))
    _, without = trained(tmp_path / "without")
    held = net.state_dict()
    assert all(torch.equal(value, held[name]) for name, value in other.state_dict().items())
    assert not all(torch.equal(value, held[name]) for name, value in without.state_dict().items())


@pytest.mark.parametrize(
    ("task", "words"),
    [({"use": "classifi"}, "nearest: classify"), ({"label_smoothing": 0.1}, "task: 'use' must name a task")],
)
def test_a_wrong_task_is_refused_before_anything_is_measured(
    task: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(run_file(tmp_path, task=task))]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "tables").exists()


def test_a_task_of_the_users_own_is_what_the_run_is_judged_and_reported_by(
    beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(run_file(beside, task={"use": "my_task:TopTwo"}))]) == 0
    results = load_results(beside / "runs" / "tiny")
    assert (
        results.task is not None and results.task.metric == "top-2 marks" and results.linear_baseline_accuracy == 20.0
    )
    winner = results.targets[0].rows[0]
    low, high = winner.accuracy_low or 0, winner.accuracy_high or 0
    assert 0 < low < winner.accuracy < high <= 101 and winner.validation_accuracy is not None
    assert 0 < winner.validation_accuracy <= 100 and max(t.accuracy for t in results.targets[0].trials) > 1
    text = capsys.readouterr().out
    assert "top-2 marks" in text and f"{winner.accuracy:.2f} marks" in text
    assert "validation top-2 marks" in (results.ship.reason if results.ship else "") or "best in top-2 marks" in str(
        results.ship
    )
    page = (beside / "runs" / "tiny" / "report.html").read_text()
    assert "Top-2 marks against cost" in page and "guess" in page and "accuracy" not in page.lower()
    manifest = json.loads(next((beside / "runs" / "tiny").glob("export/*/manifest.json")).read_text())
    assert all(entry["task"] == {"use": "my_task:TopTwo"} for entry in manifest.values())


def test_a_run_of_classification_writes_no_task_into_its_results(tmp_path: Path) -> None:
    from tests.report.samples import finished

    finished().save(tmp_path / "results.json")
    assert "task" not in json.loads((tmp_path / "results.json").read_text())


def test_darts_is_trained_and_decoded_from_a_run_file(tmp_path: Path) -> None:
    changes = {
        "space": CELLS,
        "train": {"epochs": 2, "batch_size": 128, "rule": {"use": "rule.darts", "alpha_rate": 0.05}},
        "search": {"decoder": {"use": "decoder.argmax"}, "recalibration_images": 64},
        "targets": [{"precision": "fp32", "engine": "onnxruntime"}],
    }
    assert main(["search", str(run_file(tmp_path, **changes))]) == 0
    (pick,) = picks(tmp_path).values()
    job = Job(read_run_file(tmp_path / "tiny.yaml"), progress=False)
    rule = learning.trained_rule(job)
    assert isinstance(rule, Darts)
    held = load_state(job.path("supernet.pt"))["rule"]["alpha"]
    assert all(torch.equal(rule.alpha[name].detach(), value) for name, value in held.items())
    assert max(float(value.abs().max()) for value in held.values()) > 0.05, "alpha has moved from its 1e-3"
    edges = {name: value for name, value in rule.pick().items() if name.startswith("edge.")}
    assert {name: pick["architecture"][name] for name in edges} == edges
