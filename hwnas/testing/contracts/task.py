"""Task: `subject` is a Task; examples make its metric. Targets are classes, one an example or one a place (`places`),
unless `examples` gives others: outputs float32 (24, ...), targets (24, ...) and the outputs that would be right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwnas.protocols import Task
from hwnas.testing import hold

COUNT, CLASSES, HEIGHT = 24, 3, 12.0  # of a sure output's score above the others
Examples = Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]


def is_a_task_with_a_metric(subject: Task) -> None:
    hold(isinstance(subject, Task), f"hwnas/protocols.py says what a task has, which {type(subject).__name__} lacks")
    hold(subject.metric, "the metric has a name")


def reduces_the_mean_of_single_examples(
    subject: Task, places: tuple[int, ...] = (), examples: Examples | None = None
) -> None:
    """Sets can be put together, and intervals follow from single examples."""
    outputs, targets, _ = _examples(places, examples)
    statistics = subject.statistics(outputs, targets)
    hold(
        statistics.dtype == np.float64 and statistics.ndim == 2,
        f"statistics are float64 (N, k), got {statistics.shape}",
    )
    hold(len(statistics) == COUNT, f"statistics are of one example each, got {len(statistics)} of {COUNT}")
    parts = [subject.statistics(outputs[i : i + 7], targets[i : i + 7]) for i in range(0, COUNT, 7)]
    hold(np.allclose(np.concatenate(parts), statistics), "an example's statistics do not depend on its set")
    whole = subject.reduce(statistics)
    hold(np.isclose(whole, subject.reduce(statistics.mean(axis=0, keepdims=True))), "reduce depends on the mean alone")
    hold(np.isclose(whole, subject.reduce(statistics[::-1])), "reduce does not depend on the order")


def prefers_the_right_answer(subject: Task, places: tuple[int, ...] = (), examples: Examples | None = None) -> None:
    outputs, targets, right = _examples(places, examples)
    perfect = subject.statistics(right, targets)
    drawn = subject.statistics(outputs, targets)
    hold(subject.reduce(perfect) > subject.reduce(drawn), "the right answer has a higher metric than a random one")
    hold(perfect[:, -1].mean() < drawn[:, -1].mean(), "the last column is a loss: less for the right answer")


def tells_an_output_from_another_and_not_from_itself(
    subject: Task, places: tuple[int, ...] = (), examples: Examples | None = None
) -> None:
    outputs, *_ = _examples(places, examples)
    same = subject.same(outputs, outputs)
    hold(same.shape == (COUNT,) and bool(same.all()), f"same is true (N,) of an output and itself, got {same.shape}")
    hold(not subject.same(outputs, -outputs).any(), "an output is not the same as its opposite")


def has_losses_with_gradients(subject: Task, places: tuple[int, ...] = (), examples: Examples | None = None) -> None:
    import torch

    outputs, targets, right = _examples(places, examples)
    given, wanted = torch.from_numpy(outputs).requires_grad_(), torch.from_numpy(targets)
    better = torch.from_numpy(right)
    loss = subject.loss(given, wanted)
    loss.backward()
    hold(given.grad is not None and float(given.grad.abs().sum()) > 0, "the loss has a gradient")
    hold(bool(subject.loss(better, wanted) < loss), "the loss of a better answer is less")
    teacher, student = better.requires_grad_(), torch.from_numpy(outputs).requires_grad_()
    subject.distil(student, teacher).backward()
    hold(student.grad is not None and teacher.grad is None, "distillation teaches the student and leaves the teacher")
    nearer = bool(subject.distil(teacher, teacher) < subject.distil(student, teacher))
    hold(nearer, "the teacher's own answer is the least that distillation gives")


def _examples(places: tuple[int, ...], given: Examples | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs float32 (N, classes, *places), targets int64 (N, *places), and outputs that are right and sure of it."""
    if given is not None:
        return given()
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(COUNT, CLASSES, *places)).astype(np.float32)
    targets = rng.integers(0, CLASSES, (COUNT, *places))
    right = np.moveaxis(np.eye(CLASSES, dtype=np.float32)[targets], -1, 1)
    return outputs, targets, np.ascontiguousarray(HEIGHT * right)
