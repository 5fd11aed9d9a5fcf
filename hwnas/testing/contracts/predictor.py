"""Predictor: `subject` is its constructor; it learns scores from codes and says how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwnas.cost import Costing
from hwnas.protocols import Predictor
from hwnas.space import SearchSpace
from hwnas.testing import hold
from hwnas.testing.toy import made, toy_cost, toy_space

SEEN, UNSEEN = 40, 20
Settings = Mapping[str, Any] | None


def has_fit_and_predict(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    predictor = made(subject, space or toy_space(), 0, settings)
    hold(isinstance(predictor, Predictor), f"a predictor has fit and predict, got {type(predictor).__name__}")


def gives_a_mean_and_a_deviation_above_0_of_every_code(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    codes, scores = _examples(searched)
    mean, std = _fitted(subject, searched, settings, codes[:SEEN], scores[:SEEN]).predict(codes)
    for name, values in (("mean", mean), ("deviation", std)):
        hold(values.shape == (len(codes),) and np.isfinite(values).all(), f"a finite {name} a code, got {values}")
    hold((std > 0).all(), f"a deviation is above 0, got {std.min()}")


def learns_from_a_single_score_too(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    codes, scores = _examples(searched)
    mean, std = _fitted(subject, searched, settings, codes[:1], scores[:1]).predict(codes)
    hold(np.isfinite(mean).all() and (std > 0).all(), "one score is enough to predict something")


def forgets_an_earlier_fit_and_ignores_the_order_of_examples(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    codes, scores = _examples(searched)
    one = _fitted(subject, searched, settings, codes[:5], -scores[:5])
    one.fit(codes[:SEEN], scores[:SEEN])
    other = _fitted(subject, searched, settings, codes[:SEEN][::-1], scores[:SEEN][::-1])
    alike = [np.allclose(a, b, rtol=1e-6) for a, b in zip(one.predict(codes), other.predict(codes), strict=True)]
    hold(all(alike), "a fit forgets the one before, and the order of its examples is nothing")


def ranks_what_it_never_saw(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    codes, scores = _examples(searched)
    mean, _ = _fitted(subject, searched, settings, codes[:SEEN], scores[:SEEN]).predict(codes[SEEN:])
    found = float(np.corrcoef(mean, scores[SEEN:])[0, 1])
    # A sum over slots, without noise: whatever learns at all is far above chance, which gives 0 +- 0.23 here.
    hold(found > 0.5, f"predictions of unseen networks follow their scores (correlation above 0.5), got {found:.2f}")


def _fitted(
    subject: Callable[..., Any], space: SearchSpace, settings: Settings, codes: np.ndarray, scores: np.ndarray
) -> Any:
    predictor = made(subject, space, 0, settings)
    predictor.fit(codes, scores)
    return predictor


def _examples(space: SearchSpace) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    drawn = [space.random(rng) for _ in range(SEEN + UNSEEN)]
    costs = Costing(space, toy_cost())(drawn)
    return space.live_codes(drawn), costs / costs.max()
