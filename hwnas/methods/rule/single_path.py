"""Single path: one architecture, uniformly drawn, a step (Guo et al., SPOS, ECCV 2020, arXiv:1904.00420).

Baseline: the architecture that was found, trained alone from scratch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hwnas.protocols import Batch, Supernet
from hwnas.space import SearchSpace


class SinglePath:
    """min_W E_{a ~ U(A)} [ L(N(a, W)) ]: section 3.2 with a uniform prior over every choice."""

    def __init__(self, space: SearchSpace, seed: int = 0, label_smoothing: float = 0.0) -> None:
        self.space, self.seed, self.label_smoothing = space, seed, label_smoothing

    def groups(self, net: Supernet) -> Mapping[str, Iterable[nn.Parameter]]:
        return {"weights": net.parameters()}

    def steps(self, net: Supernet, batch: Batch) -> Iterator[tuple[str, Iterable[Tensor]]]:
        path = self.space.random(np.random.default_rng((self.seed, batch.step)))
        yield (
            "weights",
            (
                cross_entropy(net(batch.images, path), batch.labels, label_smoothing=self.label_smoothing)
                for _ in range(1)
            ),
        )
