"""Tasks: every one keeps its contract; every metric and loss by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch

from hwnas import find
from hwnas.batches import halves, portions, workers_for
from hwnas.confidence import interval, shares, told_apart, wilson
from hwnas.data import balanced
from hwnas.errors import HwnasError
from hwnas.network import Port
from hwnas.pipeline.job import make_task
from hwnas.protocols import Batch, Batches, Data, Task
from hwnas.tasks.classify import Classify
from hwnas.tasks.segment import Segment
from hwnas.testing import contract
from hwnas.train import Schedule, evaluate, train

RNG = np.random.default_rng(0)


def examples(task: Task, count: int = 24, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and targets as this task takes them."""
    maps = () if isinstance(task, Classify) else (4, 5)
    outputs = RNG.normal(size=(count, classes, *maps)).astype(np.float32)
    return outputs, RNG.integers(0, classes, (count, *maps))


TASKS = [make_task({"use": name}) for name in find.names("tasks")] + [Segment("Dice"), Segment(ignore=1)]


test_every_task_of_labels = contract("task", *(task for task in TASKS if not isinstance(task, Segment)))
test_every_task_of_maps = contract("task", *(task for task in TASKS if isinstance(task, Segment)), places=(4, 5))


def test_classification_by_hand() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    statistics = Classify().statistics(logits, np.array([0, 0]))
    np.testing.assert_allclose(statistics, [[1, np.log1p(np.exp(-2))], [0, np.log1p(np.exp(1))]])
    tensors = torch.from_numpy(logits), torch.tensor([0, 0])
    assert Classify().loss(*tensors).item() == pytest.approx(statistics[:, 1].mean())
    # smoothed: 0.95 of the label, 0.05 of the other (0.1 shared by both)
    smooth = 0.95 * statistics[:, 1] + 0.05 * np.array([np.log1p(np.exp(2)), np.log1p(np.exp(-1))])
    assert Classify(0.1).loss(*tensors).item() == pytest.approx(smooth.mean())
    np.testing.assert_array_equal(Classify(0.1).statistics(logits, np.array([0, 0])), statistics)


def segmented() -> tuple[np.ndarray, np.ndarray]:
    """Two images of four pixels, three classes. Answers 0 0 1 1 and 0 2 2 2, targets 0 1 1 1 and 0 0 2 2."""
    answers = np.array([[[0, 0], [1, 1]], [[0, 2], [2, 2]]])
    return 9.0 * np.moveaxis(np.eye(3)[answers], -1, 1), np.array([[[0, 1], [1, 1]], [[0, 0], [2, 2]]])


@pytest.mark.parametrize(
    "labels", [[0.0, 1.0], [0, 3], [-1, 0], [0], [[0, 1], [1, 2]], [True, False]], ids=lambda labels: str(labels)
)
def test_labels_that_are_no_classes_are_refused_in_one_line(labels: Any) -> None:
    with pytest.raises(HwnasError, match=r"a label from 0 to 2 for each of 2 outputs, got \("):
        Classify().statistics(np.zeros((2, 3), np.float32), np.array(labels))


def test_segmentation_by_hand() -> None:
    """Class 0: 2 in both, 3 answered, 3 true. Class 1: 2, 2, 3. Class 2: 2, 3, 2."""
    outputs, targets = segmented()
    statistics = Segment().statistics(outputs, targets)
    np.testing.assert_array_equal(statistics[:, :9], [[1, 2, 0, 2, 2, 0, 1, 3, 0], [1, 0, 2, 1, 0, 3, 2, 0, 2]])
    right, wrong = math.log(1 + 2 * math.exp(-9)), math.log(1 + 2 * math.exp(-9)) + 9
    np.testing.assert_allclose(statistics[:, 9], [(3 * right + wrong) / 4] * 2)
    assert Segment().reduce(statistics) == pytest.approx((2 / 4 + 2 / 3 + 2 / 3) / 3)
    assert Segment("Dice").reduce(statistics) == pytest.approx((4 / 6 + 4 / 5 + 4 / 5) / 3)


def test_pixels_that_are_ignored_count_nowhere_and_absent_classes_are_no_zeros() -> None:
    outputs, targets = segmented()
    targets[0, 0, 1] = 7  # one of the two wrong pixels
    task = Segment(ignore=7)
    statistics = task.statistics(outputs, targets)
    np.testing.assert_array_equal(statistics[0, :9], [1, 2, 0, 1, 2, 0, 1, 2, 0])
    assert task.reduce(statistics[:1]) == 1.0, "class 2 occurs in neither answer nor target of the first image"
    tensors = torch.from_numpy(outputs).requires_grad_(), torch.from_numpy(targets)
    task.loss(*tensors).backward()
    assert tensors[0].grad is not None and tensors[0].grad[0, :, 0, 1].abs().max() == 0


def test_the_dice_loss_by_hand() -> None:
    """Even shares over two pixels and two classes, one pixel of each: overlap (2 * 0.5 + 1) / (1 + 1 + 1)."""
    outputs, targets = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]])
    assert Segment(cross_entropy=0.0).loss(outputs, targets).item() == pytest.approx(1 - 2 / 3)
    assert Segment(dice=0.0).loss(outputs, targets).item() == pytest.approx(math.log(2))
    assert Segment(dice=0.5).loss(outputs, targets).item() == pytest.approx(math.log(2) + 0.5 / 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use": "classify", "label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, got 1.0"),
        ({"use": "segment", "metric": "mIOU"}, "nearest: mIoU"),
        ({"use": "segment", "dice": -1}, "cross_entropy and dice must be at least 0"),
        ({"use": "segment", "smooth": 1}, "task (segment): unknown key 'smooth'"),
        ({"use": "classifi"}, "nearest: classify"),
        ({}, "task: 'use' must name a task"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(HwnasError) as refused:
        make_task(settings)
    assert words in str(refused.value)


def test_maps_of_the_wrong_size_are_refused_in_one_line() -> None:
    with pytest.raises(HwnasError, match=r"outputs \(N, classes, H, W\) and targets \(N, H, W\), got \(2, 3, 4, 4\)"):
        Segment().statistics(np.zeros((2, 3, 4, 4)), np.zeros((2, 8, 8), dtype=int))


# -- intervals of any metric ---------------------------------------------------------------------------------------


def test_an_accuracys_shares_are_right_and_wrong_and_its_interval_is_wilsons() -> None:
    right = np.arange(359) < 352
    statistics = np.stack([right, RNG.random(359)], axis=1)
    task = Classify()
    assert shares(task.reduce, statistics).tolist() == right.astype(float).tolist()
    assert interval(task.reduce, statistics) == wilson(352 / 359, 359)


def test_the_interval_of_a_ratio_holds_the_truth_in_about_95_of_100_cases() -> None:
    """mIoU of images whose pixels are right with a chance of their own: the truth is that of very many."""
    rng, task = np.random.default_rng(1), Segment()

    def drawn(count: int) -> np.ndarray:
        targets = rng.integers(0, 2, (count, 4, 4))
        chance = rng.uniform(0.5, 1.0, (count, 1, 1))
        answers = np.where(rng.random((count, 4, 4)) < chance, targets, 1 - targets)
        return task.statistics(np.moveaxis(np.eye(2)[answers], -1, 1), targets)

    truth = task.reduce(drawn(100_000))
    held = 0
    for _ in range(200):
        low, high = interval(task.reduce, drawn(100))
        held += low <= truth <= high
    assert 0.90 <= held / 200 <= 0.99


def test_metrics_of_one_set_are_told_apart_by_what_each_example_adds() -> None:
    task = Segment()
    outputs, targets = examples(task, 60)
    first = shares(task.reduce, task.statistics(outputs, targets))
    better = outputs + 3.0 * np.moveaxis(np.eye(3)[targets], -1, 1)
    assert told_apart(first, shares(task.reduce, task.statistics(better, targets)))
    assert not told_apart(first, first)


# -- another kind of data and target: maps ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Blobs:
    """A Data: noise (3, 8, 8) with a bright square, whose place is the target (8, 8)."""

    name: str = "blobs"
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return "blobs"

    @property
    def inputs(self) -> dict[str, Port]:
        return {"x": Port((3, 8, 8))}

    @property
    def facts(self) -> dict[str, Any]:
        return {"in_channels": 3, "classes": 2, "image_size": (8, 8)}

    @cached_property
    def _held(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        images, maps = rng.normal(size=(60, 3, 8, 8)).astype(np.float32), np.zeros((60, 8, 8), dtype=np.int64)
        for i in range(60):
            row, column = rng.integers(0, 5, 2)
            maps[i, row : row + 3, column : column + 3] = 1
            images[i, 1] += 2.0 * maps[i]
        return images, maps

    def sizes(self) -> dict[str, int]:
        return {"train": 40, "validation": 10, "test": 10}

    def _of(self, split: str) -> slice:
        return {"train": slice(0, 40), "validation": slice(40, 50), "test": slice(50, 60)}[split]

    def targets(self, split: str) -> np.ndarray:
        return self._held[1][self._of(split)]

    def batch(self, split: str, indices: np.ndarray | slice, augment: Any = None) -> Batch:
        images, maps = (torch.from_numpy(held[self._of(split)][indices]) for held in self._held)
        return Batch({"x": images}, maps)


class PixelNet(torch.nn.Sequential):
    """Two convolutions: a map out of an image."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3, padding=1))


def test_a_net_is_trained_on_maps_and_beats_what_colour_tells() -> None:
    from hwnas.methods.rule.plain import Plain

    data: Data = Blobs()
    task, net = Segment(), PixelNet()
    assert isinstance(data, Batches) and workers_for(data, Schedule()) == 0
    before = evaluate(net, data, "test", task=task)
    train(net, Plain(task), data, Schedule(epochs=60, batch_size=20, learning_rate=1e-2))
    after = evaluate(net, data, "test", task=task)
    name, colour = task.baseline(data)
    assert name == "linear classifier of single pixels" and 0.4 < colour < 0.9
    assert after.count == 10 and before.accuracy < colour < after.accuracy


def test_targets_that_are_no_labels_are_drawn_and_halved_without_classes() -> None:
    data: Data = Blobs()
    assert sorted(balanced(data, "train", 40, 0)) == list(range(40))
    first, second = halves(data, 0)
    assert sorted([*first, *second]) == list(range(40))
    assert [len(some) for some in portions(data, np.arange(10))] == [10]


def test_moving_images_about_is_refused_for_data_that_are_none() -> None:
    from hwnas.methods.rule.plain import Plain

    class Sound(Blobs):
        @property
        def inputs(self) -> dict[str, Port]:
            return {"x": Port((1, 64))}

    with pytest.raises(HwnasError, match=r"train\.shift and train\.flip move images .* data blobs holds \(1, 64\)"):
        train(PixelNet(), Plain(Segment()), Sound(), Schedule(shift=1))
