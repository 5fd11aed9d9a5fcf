"""Proxy: `subject` is its constructor; a figure of an untrained net, which it leaves as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwnas.space import SearchSpace
from hwnas.supernet import Net
from hwnas.testing import hold
from hwnas.testing.toy import made, toy_space

DRAWN = 4
Settings = Mapping[str, Any] | None


def gives_a_finite_number_of_at_least_0(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    searched = space or toy_space()
    proxy = made(subject, searched, 0, settings)
    for net in _nets(searched):
        found = proxy(net)
        hold(
            isinstance(found, float) and 0 <= found < np.inf,
            f"a proxy gives a finite float of at least 0, got {found!r}",
        )
        hold(proxy(net) == found, "the same net has the same figure")


def leaves_the_net_as_it_was(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    import torch

    searched = space or toy_space()
    proxy = made(subject, searched, 0, settings)
    for net in _nets(searched):
        before = {key: value.clone() for key, value in net.state_dict().items()}
        proxy(net)
        changed = [key for key, value in net.state_dict().items() if not torch.equal(before[key], value)]
        hold(not changed, f"parameters and statistics are as before, but {changed[:3]} are not")
        hold(net.training, "the net is in training mode as before")


def _nets(space: SearchSpace) -> list[Net]:
    rng = np.random.default_rng(0)
    return [Net(space.lower(space.random(rng)), 3) for _ in range(DRAWN)]
