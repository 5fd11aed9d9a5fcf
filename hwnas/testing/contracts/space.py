"""Search space: `subject` is a SearchSpace; whatever is drawn from it lowers to a network of its operators."""

from __future__ import annotations

import numpy as np

from hwnas.space import Architecture, SearchSpace
from hwnas.testing import hold

DRAWN = 50


def lowers_every_architecture(subject: SearchSpace) -> None:
    """A Network checks itself: every node reads earlier ones, of the shape that it takes."""
    for architecture in [subject.smallest(), subject.largest(), *_drawn(subject)]:
        network = subject.lower(architecture)
        hold(len(network) > 0, f"an architecture lowers to at least one operator, {architecture!r} to none")
        hold(subject.lower(architecture) == network, "lowering the same architecture again gives the same network")


def uses_no_operator_but_those_it_lists(subject: SearchSpace) -> None:
    """What a table must hold is known before the search."""
    known = set(subject.operators())
    for architecture in _drawn(subject):
        unlisted = [o for o in subject.lower(architecture).operators if o not in known]
        hold(not unlisted, f"operators() lists every operator that can stand in a network, but not {unlisted[:1]}")


def expands_every_operator_into_layers(subject: SearchSpace) -> None:
    for operator in subject.operators():
        layers = operator.layers
        hold(layers, f"a block is made of at least one layer, {operator} of none")
        hold(
            layers[-1].out_shape == operator.output_shape,
            f"the last layer gives the block's output, and {operator} ends in {layers[-1].out_shape}",
        )


def encodes_and_decodes(subject: SearchSpace) -> None:
    drawn = _drawn(subject)
    codes = subject.encode(drawn)
    hold(codes.shape == (DRAWN, len(subject.choices)), f"codes are (architectures, choices), got {codes.shape}")
    hold(subject.decode(codes) == drawn, "decode(encode(a)) == a")


def keeps_its_values_when_it_is_restricted(subject: SearchSpace) -> None:
    """An architecture of the narrowed space is one of the whole space, and the same network."""
    for choice in subject.choices:
        narrowed = subject.restrict({choice.name: choice.options[-1:]})
        one = narrowed.random(np.random.default_rng(1))
        hold(subject.architecture(one) == one, f"restricting {choice.name} renumbers nothing")
        hold(subject.lower(one) == narrowed.lower(one), f"restricting {choice.name} changes no network")


def _drawn(space: SearchSpace) -> list[Architecture]:
    rng = np.random.default_rng(0)
    return [space.random(rng) for _ in range(DRAWN)]
