"""Argmax: every relaxed choice takes its option of largest weight (Liu et al., DARTS, ICLR 2019, arXiv:1806.09055).

    option(c) = argmax_o weight(c, o)               over the options that are not in `never`

The paper leaves `none`, the edge that gives zero, out: `never: [none]`.

Differs: `never` is empty unless it is given; a rule that decodes itself (`pick`) is taken at its word; a target's
precision stands over what was learnt.
Baseline: random architectures of equal cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas.errors import HwnasError, unknown
from hwnas.protocols import Evaluate, Mixes, Picks, Supernet, TrainingRule
from hwnas.space import Architecture, Mix, SearchSpace, Value


class Argmax:
    """Reads `mixture()` of the trained rule, or its `pick()`; HwnasError, before training, for a rule with neither, or
    for options in `never` that no choice of the space has, or that are all of a choice's."""

    def __init__(self, rule: TrainingRule, space: SearchSpace | None = None, never: Sequence[Value] = ()) -> None:
        if not isinstance(rule, Mixes | Picks):
            raise HwnasError(
                f"{type(rule).__name__} trains no weights of options: it has neither mixture() nor pick()",
                hint="a rule with architecture parameters, or a sampler instead of a decoder",
            )
        if isinstance(never, str) or not isinstance(never, Sequence):
            raise HwnasError(f"never must be a list of options, got {never!r}", hint="never: [none]")
        self.never = tuple(never)
        if space is not None and self.never:
            self._left(space)

    def decode(self, net: Supernet, rule: TrainingRule, space: SearchSpace, evaluate: Evaluate) -> Architecture:
        import torch

        with torch.no_grad():  # weights are read, not differentiated
            found: Any = rule.mixture() if isinstance(rule, Mixes) else rule.pick()  # type: ignore[attr-defined]
        left = self._left(space)
        for name in left:
            if found[name] in self.never:
                raise HwnasError(
                    f"{type(rule).__name__} picks {found[name]!r} for {name} itself: never has no say in it"
                )
        return space.architecture({name: _best(found[name], options) for name, options in left.items()})

    def _left(self, space: SearchSpace) -> dict[str, tuple[Value, ...]]:
        """The options of every choice that may be picked."""
        known = {option for choice in space.choices for option in choice.options}
        for option in self.never:
            if option not in known:
                raise unknown(f"option of space {space.name!r} under never", str(option), sorted(map(str, known)))
        left = {c.name: tuple(o for o in c.options if o not in self.never) for c in space.choices}
        for choice in space.choices:
            if not left[choice.name]:
                raise HwnasError(f"never: {list(self.never)} leaves no option of {choice.name}")
        return left


def _best(value: Value | Mix, options: tuple[Value, ...]) -> Value:
    """The option of largest weight among those the space leaves; ties go to the first."""
    from torch import Tensor

    if len(options) == 1:
        return options[0]
    if not isinstance(value, Mix):
        return value
    held = value.weights.tolist() if isinstance(value.weights, Tensor) else value.weights  # of a rule that trains them
    weights = [float(weight) for weight in held]
    left = [(weight, option) for weight, option in zip(weights, value.options, strict=True) if option in options]
    if not left or not np.isfinite([weight for weight, _ in left]).all():
        raise HwnasError(f"weights {weights} of the options {list(value.options)} decide nothing among {list(options)}")
    return max(left, key=lambda pair: pair[0])[1]
