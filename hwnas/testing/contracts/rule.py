"""Training rule: `subject` is its constructor; it turns a batch into losses of its groups, decided by seed and step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwnas.protocols import Batch, TrainingRule
from hwnas.space import SearchSpace
from hwnas.supernet import WeightSharing
from hwnas.testing import hold
from hwnas.testing.toy import made, toy_batch, toy_space

STEP = 3
Settings = Mapping[str, Any] | None
MakeBatch = Callable[[int], Batch]  # of the step that it is for


def has_groups_and_steps(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    rule = made(subject, space or toy_space(), 0, settings)
    hold(isinstance(rule, TrainingRule), f"a training rule has groups and steps, got {type(rule).__name__}")


def has_groups_of_parameters_each_in_one_group(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    groups = {
        name: list(own) for name, own in made(subject, searched, 0, settings).groups(WeightSharing(searched)).items()
    }
    empty = [name for name, own in groups.items() if not own]
    hold(groups and not empty, f"every group has parameters to step, got none in {empty or 'any'}")
    everything = [id(parameter) for own in groups.values() for parameter in own]
    hold(len(set(everything)) == len(everything), "a parameter is in one group: two optimisers would step it twice")


def yields_finite_losses_of_its_groups(
    subject: Callable[..., Any],
    space: SearchSpace | None = None,
    settings: Settings = None,
    batch: MakeBatch = toy_batch,
) -> None:
    searched = space or toy_space()
    net, rule = WeightSharing(searched), made(subject, searched, 0, settings)
    groups, losses = rule.groups(net), 0
    for stepped, values in rule.steps(net, batch(STEP)):
        named = (stepped,) if isinstance(stepped, str) else stepped
        hold(named and set(named) <= set(groups), f"a step is of one of the groups {list(groups)}, got {stepped!r}")
        for value in values:
            hold(value.ndim == 0 and bool(np.isfinite(value.item())), f"a loss is one finite number, got {value}")
            value.backward()
            losses += 1
    hold(losses > 0, "a batch gives at least one loss")
    hold(any(p.grad is not None for p in net.parameters()), "a loss reaches the net's parameters")


def repeats_itself_at_the_same_seed_and_step(
    subject: Callable[..., Any],
    space: SearchSpace | None = None,
    settings: Settings = None,
    batch: MakeBatch = toy_batch,
) -> None:
    """Whatever was trained before it in this process: a resumed run makes the rule anew and goes on at a later step."""
    searched = space or toy_space()
    fresh, used = (made(subject, searched, 0, settings) for _ in range(2))
    for step in range(STEP):
        _losses(used, searched, batch(step))
    one, again = _losses(fresh, searched, batch(STEP)), _losses(used, searched, batch(STEP))
    hold(one == again, f"losses follow from seed and step alone, got {one[:4]} anew and {again[:4]} after other steps")


def _losses(rule: Any, space: SearchSpace, batch: Batch) -> list[float]:
    net = WeightSharing(space)
    rule.groups(net)
    return [value.item() for _, values in rule.steps(net, batch) for value in values]
