"""Which file to ship: among those that verified and keep every limit, the most accurate on validation images.

Test images take no part in it, so the test accuracy of what is shipped stays an honest figure. A difference within one
standard error is none: of such files the fastest is shipped, and of equally fast ones the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.confidence import told_apart
from hwnas.pipeline.validating import Answers
from hwnas.report.findings import kept, latency_of, limit_verdict, shipped_bytes
from hwnas.report.results import Results, Row, Ship
from hwnas.units import readable_bytes, readable_metric, readable_us

SAME_SPEED = 0.03  # two loads of one file agree to this share (docs/measurement.md); a smaller gain in speed is noise


@dataclass(frozen=True)
class Candidate:
    """An exported file. `shares` (n,): what every validation example adds to the metric (for an accuracy, whether it is
    right), and `metric` the whole; `loss` the mean loss; `latency_us` the limited statistic, predicted where
    `not_timed` says that nothing was timed; `over` names the limits it exceeds."""

    file: str
    precision: str
    engine: str
    metric: float
    shares: np.ndarray
    loss: float
    latency_us: float
    file_bytes: int
    verified: bool = True
    over: tuple[str, ...] = ()
    not_timed: str | None = None

    @property
    def fits(self) -> bool:
        return self.verified and not self.over


@dataclass(frozen=True)
class Words:
    """How the metric and the examples are called in a reason."""

    metric: str = "accuracy"
    unit: str = "%"
    examples: str = "images"

    @property
    def best(self) -> str:
        return "most accurate" if self.metric == "accuracy" else f"best in {self.metric}"


def candidate(results: Results, row: Row, answers: Answers) -> Candidate:
    """A row of the results as a candidate; a file of which no latency is known is not one that keeps a limit."""
    over = [] if kept(row) is not False else [limit_verdict(row, results.limits, results.statistic)]
    latency_us = latency_of(row, results.statistic)
    if latency_us is None:
        over.append("it was not timed" + (" and no table predicts it" if row.not_timed else ""))
    return Candidate(
        row.file, row.precision, row.engine, answers.metric, answers.shares, answers.loss,
        math.inf if latency_us is None else latency_us, shipped_bytes(row), row.verified.startswith("ok"), tuple(over),
        row.not_timed,
    )  # fmt: skip


def decide(candidates: Sequence[Candidate], limits: str, words: Words = Words()) -> Ship:
    """The file to ship and the reason; no file where none fits. `limits` is the limits in words."""
    fitting = [candidate for candidate in candidates if candidate.fits]
    if not fitting:
        return _nothing(candidates, limits)
    best = max(fitting, key=lambda c: (c.metric, -c.loss))
    near = [c for c in fitting if not told_apart(best.shares, c.shares)]
    fastest = min(c.latency_us for c in near)
    as_fast = [c for c in near if c.latency_us <= fastest * (1 + SAME_SPEED)]
    chosen = min(as_fast, key=lambda c: (c.file_bytes, c.loss, c.file))
    reason = _reason(chosen, best, near, fitting, limits, words)
    if chosen.not_timed:
        reason += f"; its latency is predicted, {chosen.not_timed}"
    return Ship(chosen.file, chosen.precision, chosen.engine, reason)


def _reason(
    chosen: Candidate,
    best: Candidate,
    near: Sequence[Candidate],
    fitting: Sequence[Candidate],
    limits: str,
    words: Words,
) -> str:
    value = readable_metric(chosen.metric, words.unit)
    shown = f"{value} of {len(chosen.shares)} validation {words.examples}, {readable_us(chosen.latency_us)}"
    within = f"within {limits}" if limits else "that verified"
    if len(fitting) == 1:
        return f"it is the only file {within} ({shown})"
    if len(near) == 1:
        return f"it is the {words.best} of {len(fitting)} files {within} ({shown})"
    fastest = min(c.latency_us for c in near)
    which = (
        "fastest" if chosen.latency_us == fastest else f"smallest of the fastest, {readable_bytes(chosen.file_bytes)}"
    )
    better = (
        ""
        if chosen is best
        else f"; the {words.best} has {readable_metric(best.metric, words.unit)} and takes "
        f"{readable_us(best.latency_us)}"
    )
    return (
        f"of the {len(near)} files {within} that validation {words.metric} does not tell apart (one standard error), "
        f"it is the {which} ({shown}{better})"
    )


def _nothing(candidates: Sequence[Candidate], limits: str) -> Ship:
    if not candidates:
        return Ship(None, None, None, "nothing was exported")
    broken = [c.file for c in candidates if not c.verified]
    nearest = min((c for c in candidates if c.verified), key=lambda c: (len(c.over), c.latency_us), default=None)
    said = f"none of {len(candidates)} files is within {limits}" if limits else "no file verified"
    if nearest is not None:
        said += f"; the nearest is {nearest.file}: {'; '.join(nearest.over)}"
    if broken:
        said += f"; not verified: {', '.join(broken)}"
    return Ship(None, None, None, said)
