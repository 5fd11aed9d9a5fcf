"""One hand-computed equation a paper."""

from __future__ import annotations

import numpy as np
import torch

from hwnas.methods.rule.sandwich import Sandwich
from hwnas.methods.rule.single_path import SinglePath
from hwnas.methods.search.regularized_evolution import RegularizedEvolution
from hwnas.protocols import Batch
from hwnas.space import Architecture, Choice, SearchSpace

SPACE = SearchSpace("toy", (Choice("a", (1, 2)), Choice("b.precision", ("fp32", "int8"), "precision")), (), 1, 2)
LOGITS = {(2, "fp32"): [2.0, 0.0], (1, "fp32"): [1.0, 0.0], (2, "int8"): [0.0, 0.0], (1, "int8"): [0.0, 1.0]}


class Table(torch.nn.Module):
    """A "supernet" that looks its logits up, so that every loss can be computed by hand."""

    stages: tuple[torch.nn.Module, ...] = ()

    def forward(self, inputs: torch.Tensor, selection: Architecture) -> torch.Tensor:
        row = torch.tensor(LOGITS[selection["a"], selection["b.precision"]])  # type: ignore[index]
        return row.expand(len(inputs), 2)


BATCH = Batch({"x": torch.zeros(3, 1)}, torch.zeros(3, dtype=torch.int64), step=0)


def log_sigmoid(x: float) -> float:
    return float(-np.log1p(np.exp(-x)))


def losses(rule: SinglePath | Sandwich, batch: Batch) -> list[float]:
    return [loss.item() for _, step in rule.steps(Table(), batch) for loss in step]  # type: ignore[arg-type]


def test_single_path_is_the_cross_entropy_of_one_drawn_path() -> None:
    """-log softmax of class 0 is -log sigmoid of the difference of the two logits."""
    possible = {round(-log_sigmoid(first - second), 5) for first, second in LOGITS.values()}
    seen = {round(losses(SinglePath(SPACE), Batch(BATCH.inputs, BATCH.labels, step))[0], 5) for step in range(40)}
    assert seen == possible


def test_the_sandwich_is_the_teachers_cross_entropy_and_the_students_distillation() -> None:
    """Teacher (2, fp32): p = sigmoid(2). Turn int8: largest (2, int8) has logits 0, 0; smallest (1, int8) has 0, 1."""
    rule = Sandwich(SPACE, random_paths=0, hard=0.25, turns=["int8"])
    p = 1 / (1 + np.exp(-2.0))
    largest = 0.25 * np.log(2) + 0.75 * np.log(2)
    cross_entropy = -log_sigmoid(-1.0)
    distilled = -(p * log_sigmoid(-1.0) + (1 - p) * log_sigmoid(1.0))
    smallest = 0.25 * cross_entropy + 0.75 * distilled
    np.testing.assert_allclose(losses(rule, BATCH), [-log_sigmoid(2.0), largest, smallest], rtol=1e-5)


def test_regularised_evolution_forgets_its_oldest_and_mutates_the_best_of_a_sample() -> None:
    space = SearchSpace("toy", tuple(Choice(f"c{i}", (0, 1, 2)) for i in range(6)), (), 1, 2)
    evolution = RegularizedEvolution(space, population=3, sample=50, extra=0.0)
    members = [Architecture({f"c{i}": value for i in range(6)}) for value in (0, 1, 2)]
    evolution.tell(members, np.array([5.0, 1.0, 2.0]))
    for child in evolution.ask(20):
        assert sum(child[f"c{i}"] != 0 for i in range(6)) == 1, "one choice of the best, all zeros, is redrawn"
    evolution.tell(members[1:2], np.array([1.0]))  # the population holds three: the first, and best, is the oldest
    for child in evolution.ask(20):
        assert sum(child[f"c{i}"] != 2 for i in range(6)) == 1
