"""The one answer of a run: chosen on validation images, within all limits, with its reason in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwnas.pipeline.decision import Candidate, decide
from hwnas.pipeline.validating import judged
from hwnas.tasks.classify import Classify


def answers(right: int, of: int = 360) -> np.ndarray:
    return np.arange(of) < right


INT8 = Candidate("export/a/int8", "int8", "tvm", 357 / 360, answers(357), 0.05, 18.0, 190_000)
TWIN = Candidate("export/a/fp32", "fp32", "onnxruntime", 359 / 360, answers(359), 0.04, 72.0, 680_000)


def test_the_most_accurate_file_is_shipped_where_its_lead_is_more_than_one_standard_error() -> None:
    """Two images more, none less: sqrt(2) = 1.41 images are one standard error."""
    ship = decide([INT8, TWIN], "latency <= 80.0 us")
    assert ship.file == TWIN.file and ship.engine == "onnxruntime"
    assert ship.reason == (
        "it is the most accurate of 2 files within latency <= 80.0 us (99.72% of 360 validation images, 72.0 us)"
    )


def test_of_files_that_accuracy_does_not_tell_apart_the_fastest_is_shipped() -> None:
    near = replace(INT8, metric=358 / 360, shares=answers(358))
    ship = decide([near, TWIN], "latency <= 80.0 us")
    assert ship.file == near.file
    assert "it is the fastest (99.44%" in ship.reason
    assert "the most accurate has 99.72% and takes 72.0 us" in ship.reason


def test_the_comparison_is_paired() -> None:
    """Nine images apart, but on 81 images exactly one of the two is right: within the noise of sqrt(81)."""
    first = np.arange(360) < 300
    second = np.where(np.arange(360) < 45, False, first) | ((np.arange(360) >= 300) & (np.arange(360) < 336))
    slow, fast = replace(TWIN, metric=300 / 360, shares=first), replace(INT8, metric=291 / 360, shares=second)
    assert first.sum() - second.sum() == 9
    assert decide([slow, fast], "").file == fast.file


def test_of_equally_fast_files_the_smallest_is_shipped() -> None:
    larger = replace(INT8, file="export/b/int8", latency_us=17.8, file_bytes=400_000)
    ship = decide([larger, INT8], "latency <= 80.0 us")
    assert ship.file == INT8.file and "the smallest of the fastest" in ship.reason


def test_what_breaks_a_limit_or_was_not_verified_is_never_shipped() -> None:
    over = replace(TWIN, over=("latency over by 22.0 us (+44.0%)",))
    broken = replace(TWIN, file="export/broken", verified=False)
    ship = decide([INT8, over, broken], "latency <= 50.0 us")
    assert ship.file == INT8.file and "the only file within latency <= 50.0 us" in ship.reason


def test_where_nothing_keeps_the_limits_it_is_said_with_the_nearest() -> None:
    over = replace(INT8, over=("latency over by 8.0 us (+80.0%)",))
    ship = decide([over, replace(TWIN, verified=False)], "latency <= 10.0 us")
    assert ship.file is None
    assert "none of 2 files is within latency <= 10.0 us" in ship.reason
    assert "export/a/int8: latency over by 8.0 us" in ship.reason and "not verified: export/a/fp32" in ship.reason


def test_the_loss_is_the_cross_entropy_of_the_labels_and_survives_large_logits() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1000.0], [1.0, 1.0]], dtype=np.float32)
    task = Classify()
    found = judged(task, task.statistics(logits, np.array([0, 1, 1])))
    assert found.shares.tolist() == [1.0, 1.0, 0.0] and found.metric == 2 / 3
    assert found.loss == pytest.approx((np.log1p(np.exp(-2.0)) + 0.0 + np.log(2.0)) / 3)
