"""A tiny mobile space, its mixed network, and mixes of weight one: what tests of mixed weights share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwnas.methods.rule._superposition import Superposition
from hwnas.space import Architecture, SearchSpace
from hwnas.spaces.mobile import mobile


def tiny(**settings: Any) -> SearchSpace:
    """Two stages of one or two inverted residuals on images (1, 8, 8) of four classes, every kind of choice open."""
    given: dict[str, Any] = {"in_channels": 1, "classes": 4, "resolutions": [8], "stem_width": 6, "stem_stride": 1}
    given |= {"widths": [[8, 12], [14, 18]], "depths": [1, 2], "strides": [2, 1], "precisions": ["fp32"]}
    given |= {"kernels": [3, 5], "expansions": [2, 3]}
    return mobile(**(given | settings))


def superposition(space: SearchSpace, names: list[str] | None = None) -> Superposition:
    """Of all choices of the architecture that have several options, or of these."""
    chosen = [c for c in space.choices if len(c.options) > 1 and (c.name in (names or ()) or c.role == "architecture")]
    return Superposition(space, [c for c in chosen if names is None or c.name in names])


def one_hot(mixed: Superposition, architecture: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    found = {c.name: torch.zeros(len(c.options), dtype=dtype) for c in mixed.choices}
    for choice in mixed.choices:
        found[choice.name][choice.options.index(architecture[choice.name])] = 1.0
    return found


def some(space: SearchSpace, mixed: Superposition, count: int) -> list[Architecture]:
    """The ends and random architectures; what is not mixed as in the largest."""
    rng, base = np.random.default_rng(0), space.largest()
    drawn = [space.smallest(), space.largest(), *(space.random(rng) for _ in range(count))]
    return [space.architecture({**base, **{c.name: one[c.name] for c in mixed.choices}}) for one in drawn]
