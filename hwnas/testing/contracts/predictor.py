"""Predictor: `subject` is its constructor; it learns scores from codes, whatever it was fitted to before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwnas.protocols import Predictor
from hwnas.space import SearchSpace
from hwnas.testing import hold
from hwnas.testing.toy import made, toy_scorer, toy_space

DRAWN, LEARNT, FEW = 60, 45, 5
LEAST_CORRELATION = 0.5  # on a score that is nearly linear in the codes; the ridge has 0.9
Settings = Mapping[str, Any] | None
Examples = tuple[np.ndarray, np.ndarray]


def predicts_a_mean_and_a_deviation(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    predictor, (codes, scores) = made(subject, searched, 0, settings), _examples(searched)
    hold(isinstance(predictor, Predictor), f"a predictor has fit and predict, got {type(predictor).__name__}")
    predictor.fit(codes[:LEARNT], scores[:LEARNT])
    mean, std = predictor.predict(codes)
    for name, found in (("mean", mean), ("standard deviation", std)):
        good = found.dtype == np.float64 and found.shape == (len(codes),) and bool(np.isfinite(found).all())
        hold(good, f"the {name} is float64 (n,) of finite numbers, got {found.dtype} {found.shape}")
    hold(bool((std > 0).all()), "the standard deviation is above 0")


def forgets_an_earlier_fit_and_the_order_of_its_examples(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    codes, scores = _examples(searched)
    used, fresh = (made(subject, searched, 0, settings) for _ in range(2))
    used.fit(codes[:FEW], -scores[:FEW])
    used.fit(codes[:LEARNT], scores[:LEARNT])
    fresh.fit(codes[:LEARNT][::-1], scores[:LEARNT][::-1])
    for one, other in zip(used.predict(codes), fresh.predict(codes), strict=True):
        hold(np.allclose(one, other, rtol=1e-6), "a fit forgets the one before, and the order of examples is nothing")


def ranks_what_it_never_saw(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    predictor, (codes, scores) = made(subject, searched, 0, settings), _examples(searched)
    predictor.fit(codes[:LEARNT], scores[:LEARNT])
    agreed = float(np.corrcoef(predictor.predict(codes)[0][LEARNT:], scores[LEARNT:])[0, 1])
    hold(agreed > LEAST_CORRELATION, f"predictions of unseen networks follow their scores, correlation {agreed:.2f}")


def _examples(space: SearchSpace) -> Examples:
    """Codes int64 (n, choices) and scores float64 (n,) of random architectures."""
    rng = np.random.default_rng(0)
    drawn = [space.random(rng) for _ in range(DRAWN)]
    return space.live_codes(drawn), toy_scorer(space)(drawn)
