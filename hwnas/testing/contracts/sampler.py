"""Sampler: `subject` is its constructor; asked and told in turn it proposes architectures of the space, repeatably."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hwnas.cost import Costing
from hwnas.protocols import Sampler
from hwnas.space import Architecture, SearchSpace
from hwnas.testing import hold
from hwnas.testing.toy import made, toy_cost, toy_space

ROUNDS, ASKED = 12, 7
Settings = Mapping[str, Any] | None


def has_ask_and_tell(subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None) -> None:
    sampler = made(subject, space or toy_space(), 0, settings)
    hold(isinstance(sampler, Sampler), f"a sampler has ask and tell, got {type(sampler).__name__}")


def asks_for_at_most_as_many_as_wanted(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    for asked in _conversation(subject, space or toy_space(), 3, settings):
        hold(0 < len(asked) <= ASKED, f"ask({ASKED}) gives 1 to {ASKED} architectures, got {len(asked)}")


def asks_for_architectures_of_the_space(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    for asked in _conversation(subject, searched, 3, settings):
        for architecture in asked:
            hold(
                isinstance(architecture, Architecture) and searched.architecture(architecture) == architecture,
                f"ask gives architectures with a value for every choice of the space, got {architecture!r}",
            )


def repeats_itself_with_its_seed_and_the_same_scores(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    one, again = (_conversation(subject, space or toy_space(), 3, settings) for _ in range(2))
    hold(one == again, "the same seed and scores give the same proposals: randomness comes from the seed alone")


def proposes_something_else_with_another_seed(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    one, other = (_conversation(subject, space or toy_space(), seed, settings) for seed in (3, 4))
    hold(one != other, "another seed gives other proposals")


def takes_scores_of_one_or_of_several_objectives(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    for objectives in (1, 2):
        sampler = made(subject, searched, 0, settings)
        for _ in range(3):
            asked = sampler.ask(ASKED)
            sampler.tell(asked, _scores(searched, asked)[:, :objectives].squeeze(1 if objectives == 1 else ()))


def may_be_told_what_it_never_asked_for(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    sampler, known = made(subject, searched, 0, settings), [searched.smallest(), searched.largest()]
    sampler.tell(known, _scores(searched, known))
    hold(sampler.ask(ASKED), "scores kept from an earlier run are told first: the sampler goes on from them")


def _conversation(make: Callable[..., Any], space: SearchSpace, seed: int, settings: Settings) -> list[Any]:
    sampler, seen = made(make, space, seed, settings), []
    for _ in range(ROUNDS):
        asked = sampler.ask(ASKED)
        sampler.tell(asked, _scores(space, asked))
        seen.append(list(asked))
    return seen


def _scores(space: SearchSpace, architectures: Sequence[Architecture]) -> np.ndarray:
    """(n, 2): a value that grows with the network, and the latency with its sign turned; higher is better."""
    asked = [space.architecture(architecture) for architecture in architectures]  # HwnasError where it is none
    costs = Costing(space, toy_cost())(asked)
    return np.stack([costs + space.encode(asked).sum(axis=1), -costs], axis=1)
