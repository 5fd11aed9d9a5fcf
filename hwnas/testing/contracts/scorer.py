"""Scorer: `subject` is its constructor; what it says of an architecture depends on that architecture alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwnas.protocols import Scorer
from hwnas.space import SearchSpace
from hwnas.testing import hold
from hwnas.testing.toy import made, toy_space

ASKED = 3
Settings = Mapping[str, Any] | None


def scores_each_architecture_by_itself(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    """Kept scores stand for asking again."""
    searched, rng = space or toy_space(), np.random.default_rng(0)
    scorer: Scorer = made(subject, searched, 0, settings)
    some = [searched.random(rng) for _ in range(ASKED)]
    found = np.asarray(scorer(some))
    hold(
        found.dtype == np.float64 and found.shape in {(ASKED,), (ASKED, 2)},
        f"scores are float64 (n,) or (n, 2), got {found.shape}",
    )
    accuracies = found.reshape(ASKED, -1)[:, 0]
    hold(bool(((accuracies >= 0) & (accuracies <= 1)).all()), f"accuracies lie in [0, 1], got {accuracies}")
    hold(np.array_equal(np.asarray(scorer(some[::-1]))[::-1], found), "a score does not depend on what else is asked")
    hold(len(scorer([])) == 0, "no architectures have no scores")
