"""Proxy: `subject` is its constructor; it gives an untrained net a figure and leaves it as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwnas.protocols import Proxy
from hwnas.space import SearchSpace
from hwnas.testing import hold
from hwnas.testing.toy import made, toy_space

Settings = Mapping[str, Any] | None


def is_a_finite_number_of_at_least_0_and_repeats_itself(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    proxy, net = _with_net(subject, space, settings)
    hold(isinstance(proxy, Proxy), f"a proxy is called with a net, got {type(proxy).__name__}")
    first = float(proxy(net))
    hold(np.isfinite(first) and first >= 0, f"a finite number of at least 0, got {first}")
    hold(float(proxy(net)) == first, "the same net gives the same figure")


def leaves_the_net_as_it_is(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    import torch

    proxy, net = _with_net(subject, space, settings)
    before, mode = {name: value.clone() for name, value in net.state_dict().items()}, net.training
    proxy(net)
    hold(net.training == mode, "the net stays in the mode that it was in")
    changed = [name for name, value in net.state_dict().items() if not torch.equal(before[name], value)]
    hold(not changed, f"the net's values stay, changed: {changed}")
    hold(all(p.grad is None for p in net.parameters()), "no gradient is left in the net")


def _with_net(subject: Callable[..., Any], space: SearchSpace | None, settings: Settings) -> tuple[Any, Any]:
    from hwnas.supernet import Net

    searched = space or toy_space()
    return made(subject, searched, 0, settings), Net(searched.lower(searched.largest()), 3)
