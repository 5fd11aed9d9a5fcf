"""Decoder: `subject` is its constructor; it reads the same architecture out of the same net and rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hwnas.space import SearchSpace
from hwnas.supernet import WeightSharing
from hwnas.testing import hold
from hwnas.testing.toy import Relaxed, made, toy_scorer, toy_space

Settings = Mapping[str, Any] | None


def gives_an_architecture_of_the_space_and_repeats_itself(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    """Of a narrowed space too: a target's space has fewer options than the rule's."""
    searched = space or toy_space()
    net, rule, evaluate = WeightSharing(searched, 0), Relaxed(searched), toy_scorer(searched)
    first = {c.name: c.options[:1] for c in searched.choices if c.role == "precision"}
    for narrowed in (searched, searched.restrict(first)):
        one, again = (made(subject, searched, 0, settings).decode(net, rule, narrowed, evaluate) for _ in range(2))
        hold(
            narrowed.architecture(one) == one, f"decode gives an architecture of the space it is asked for, got {one!r}"
        )
        hold(one == again, "the same net and state give the same architecture")
