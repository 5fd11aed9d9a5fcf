"""The comparison of few-shot NAS: how scores rank cells, what is scored, what is kept, what the page says."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.data import Raw, prepare
from hwnas.spaces.nas_bench_201 import EDGES, OPERATIONS


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module("few_shot")


class Table:
    """Published by nobody: a cell's accuracy is its count of 3x3 convolutions, and 10 times that of 1x1."""

    def known(self) -> Any:
        return self

    def __getitem__(self, cell: tuple[str, ...]) -> float:
        return float(sum({"nor_conv_3x3": 1, "nor_conv_1x1": 10}.get(operation, 0) for operation in cell))


def test_a_ranking_is_both_correlations_and_what_the_best_scored_cell_is_worth(benchmark: Any) -> None:
    """Four cells in order 1 2 4 3: of six pairs one is swapped: tau = (5 - 1) / 6; rho = 1 - 6 x 2 / (4 x 15)."""
    found = benchmark.ranking([0.1, 0.2, 0.4, 0.3], [10.0, 20.0, 30.0, 40.0])
    assert (found.spearman, found.kendall) == (pytest.approx(0.8), pytest.approx(4 / 6)) and found.best == 30.0
    assert benchmark.ranking([1, 3, 3, 2], [10.0, 20.0, 30.0, 90.0]).best == 25.0, "the mean of equal bests"


def figures(few: Callable[[float], float], rival: Callable[[float], float], seeds: int = 3) -> dict[str, Any]:
    """Every supernet's scores as a function of the truth in `Table`."""
    made: dict[str, Any] = {"mark": ""}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        cells = [[str(rng.choice(OPERATIONS)) for _ in EDGES] for _ in range(40)]
        truth = [Table()[tuple(cell)] for cell in cells]
        names = {"few-shot": few, "one-shot": rival}
        made[str(seed)] = {name: [f(value) for value in truth] for name, f in names.items()}
        made[str(seed)] |= {"cells": cells, **{f"{name} seconds": 60.0 for name in names}}
    return made


def test_the_page_says_which_is_better_whichever_it_is(benchmark: Any) -> None:
    def right(truth: float) -> float:
        return truth

    def noisy(truth: float) -> float:
        return (truth * 7919) % 13

    page = benchmark.page(benchmark.SETTINGS, figures(right, noisy), Table())
    assert page.count("**beats** one-shot") == 1 and "| few-shot | 1.00 ± 0.00 | 1.00 ± 0.00 |" in page
    assert "3 seeds, 6 minutes" in page
    assert benchmark.page(benchmark.SETTINGS, figures(noisy, right), Table()).count("**is beaten by** one-shot") == 1
    same = benchmark.page(benchmark.SETTINGS, figures(right, right), Table())
    assert same.count("**is not told apart from** one-shot") == 1


def test_the_convolution_count_sees_the_cell_alone(benchmark: Any) -> None:
    found = benchmark.rankings(figures(lambda truth: truth, lambda truth: -truth), Table())
    assert {len(of) for of in found.values()} == {3}
    assert all(-1 < one.spearman < 1 for one in found[benchmark.COUNTED]), "9 to 1 where the table says 1 to 10"
    assert all(one.spearman == pytest.approx(-1) for one in found[benchmark.ONE])


@pytest.mark.slow
def test_all_supernets_score_the_same_cells_and_a_stopped_comparison_goes_on(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((80, 3, 8, 8)).astype(np.float32), np.arange(80) % 4
    data = prepare(Raw("noise", images, labels, tuple("0123")))
    monkeypatch.setattr(benchmark, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(benchmark, "cifar", lambda folder, side, count: data)
    small = replace(benchmark.SETTINGS, width=2, shared=1, further=1, cells=5, scored=8, portion=4, batch_size=16)
    first = benchmark.measure(tmp_path, small, 1)["0"]
    assert all(len(first[name]) == 5 for name in (*benchmark.SUPERNETS, "cells"))
    assert len({tuple(cell) for cell in first["cells"]}) == 5
    epochs = [_epochs(tmp_path / "kept" / f"{name}-0.pt") for name in ("shared", "few-shot", "one-shot")]
    assert epochs == [1, 1, 1], "equal steps in all"
    monkeypatch.setattr(benchmark, "train", None)  # whatever trains again fails
    assert benchmark.measure(tmp_path, small, 1)["0"] == first


def _epochs(path: Path) -> int:
    """What a checkpoint has seen."""
    from hwnas.checkpoint import load_state

    return int(load_state(path)["epoch"])
