"""Decoder: `subject` is its constructor; it reads one architecture of a space out of a supernet and its rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hwnas.cost import Costing
from hwnas.protocols import Decoder
from hwnas.space import Architecture, SearchSpace
from hwnas.testing import hold
from hwnas.testing.toy import made, toy_cost, toy_rule, toy_space

Settings = Mapping[str, Any] | None


def gives_an_architecture_of_the_space_and_repeats_itself(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    first, again = (_decoded(subject, searched, searched, settings) for _ in range(2))
    hold(searched.architecture(first) == first, f"an architecture of the space, got {first!r}")
    hold(first == again, "the same net and rule give the same architecture")


def keeps_to_what_a_narrower_space_leaves(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    narrow = searched.restrict({choice.name: choice.options[:1] for choice in searched.choices[::2]})
    found = _decoded(subject, searched, narrow, settings)
    hold(narrow.architecture(found) == found, f"an architecture of the narrower space, got {found!r}")


def _decoded(subject: Callable[..., Any], whole: SearchSpace, space: SearchSpace, settings: Settings) -> Architecture:
    from hwnas.supernet import WeightSharing

    decoder = made(subject, whole, 0, settings)
    hold(isinstance(decoder, Decoder), f"a decoder has decode, got {type(decoder).__name__}")
    cost = Costing(whole, toy_cost())

    def evaluate(architectures: Sequence[Architecture], /) -> np.ndarray:
        return np.asarray(cost(architectures) / cost.bounds().high)

    found: Architecture = decoder.decode(WeightSharing(whole), toy_rule(whole), space, evaluate)
    return found
