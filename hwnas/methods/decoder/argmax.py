"""Argmax: every relaxed choice takes its option of largest weight (Liu et al., DARTS, ICLR 2019, arXiv:1806.09055).

    option(c) = argmax_o weight(c, o)

Differs: a rule that decodes itself (`pick`) is taken at its word; a target's precision stands over what was learnt.
Baseline: random architectures of equal cost.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.protocols import Evaluate, Mixes, Picks, Supernet, TrainingRule
from hwnas.space import Architecture, Mix, SearchSpace, Value


class Argmax:
    """Reads `mixture()` of the trained rule, or its `pick()`; HwnasError, before training, for a rule with neither."""

    def __init__(self, rule: TrainingRule) -> None:
        if not isinstance(rule, Mixes | Picks):
            raise HwnasError(
                f"{type(rule).__name__} trains no weights of options: it has neither mixture() nor pick()",
                hint="a rule with architecture parameters, or a sampler instead of a decoder",
            )

    def decode(self, net: Supernet, rule: TrainingRule, space: SearchSpace, evaluate: Evaluate) -> Architecture:
        import torch

        with torch.no_grad():  # weights are read, not differentiated
            found: Any = rule.mixture() if isinstance(rule, Mixes) else rule.pick()  # type: ignore[attr-defined]
        return space.architecture({choice.name: _best(found[choice.name], choice.options) for choice in space.choices})


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
