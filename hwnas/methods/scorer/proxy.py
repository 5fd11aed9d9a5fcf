"""Proxy: ranks architectures by a figure of their untrained nets, so that a search needs no trained supernet.

    score(a) = p / (1 + p),   p = proxy(net of a with the seed's initial weights) >= 0

which only ranks: it rises with p and lies in [0, 1), as every score does.
Baseline: cost.macs, which ranks architectures as well and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas import protocols
from hwnas.errors import HwnasError
from hwnas.search import compact
from hwnas.space import Architecture, SearchSpace

MOST = 1e12  # above it p / (1 + p) tells neighbours apart by their last digits alone


class Proxy:
    """Scores float64 (n,). HwnasError where the proxy gives anything but a finite number of at least 0."""

    def __init__(self, space: SearchSpace, proxy: protocols.Proxy, seed: int = 0) -> None:
        self.space, self.proxy, self.seed = space, proxy, seed

    def __call__(self, architectures: Sequence[Architecture], /) -> np.ndarray:
        return np.array([self._score(architecture) for architecture in architectures], dtype=np.float64)

    def _score(self, architecture: Architecture) -> float:
        from hwnas.supernet import Net

        given = self.proxy(Net(self.space.lower(architecture), self.seed))
        try:
            value = float(given)
        except (TypeError, ValueError):
            value = np.nan
        if not 0 <= value < MOST:
            raise HwnasError(
                f"a proxy must give a number from 0 to {MOST:g}, got {given!r} of {compact(architecture)}",
                hint="a figure that grows like a product is ranked by its logarithm",
            )
        return value / (1.0 + value)
