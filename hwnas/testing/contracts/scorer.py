"""Scorer: `subject` is its constructor; it scores architectures from 0 to 1, each for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwnas.protocols import Scorer
from hwnas.space import Architecture, SearchSpace
from hwnas.testing import hold
from hwnas.testing.toy import made, toy_space

Settings = Mapping[str, Any] | None


def is_called_with_architectures(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    scorer = made(subject, space or toy_space(), 0, settings)
    hold(isinstance(scorer, Scorer), f"a scorer is called with architectures, got {type(scorer).__name__}")


def gives_one_score_or_score_and_loss_an_architecture(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    found = np.asarray(made(subject, searched, 0, settings)(_some(searched)))
    hold(
        found.dtype == np.float64 and found.shape in {(3,), (3, 2)},
        f"float64 (3,) or (3, 2), got {found.dtype} {found.shape}",
    )
    scores = found.reshape(3, -1)[:, 0]
    hold(((scores >= 0) & (scores <= 1)).all(), f"a score is from 0 to 1, got {scores}")


def scores_each_architecture_for_itself(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    scorer, some = made(subject, searched, 0, settings), _some(searched)
    first, turned = np.asarray(scorer(some)), np.asarray(scorer(some[::-1]))[::-1]
    hold(np.array_equal(first, turned), "a score does not depend on what else is asked: kept scores stand for it")


def _some(space: SearchSpace) -> list[Architecture]:
    return [space.smallest(), space.largest(), space.random(np.random.default_rng(0))]
