"""Single path: one architecture, uniformly drawn, a step (Guo et al., SPOS, ECCV 2020, arXiv:1904.00420).

Baseline: the architecture that was found, trained alone from scratch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from torch import Tensor, nn

from hwnas.errors import HwnasError
from hwnas.protocols import Batch, Supernet, Task
from hwnas.space import SearchSpace
from hwnas.tasks.classify import Classify


class SinglePath:
    """min_W E_{a ~ U(A)} [ L(N(a, W)) ]: section 3.2 with a uniform prior over every choice."""

    def __init__(
        self, space: SearchSpace, seed: int = 0, task: Task = Classify(), label_smoothing: float = 0.0
    ) -> None:
        """`label_smoothing` is a setting of the task; run files from before there were tasks give it here.
        HwnasError beside a task that has none."""
        if label_smoothing and not isinstance(task, Classify):
            raise HwnasError("label_smoothing is of classification", hint="task: {use: classify, label_smoothing: 0.1}")
        self.space, self.seed, self.task = space, seed, Classify(label_smoothing) if label_smoothing else task

    def groups(self, net: Supernet) -> Mapping[str, Iterable[nn.Parameter]]:
        return {"weights": net.parameters()}

    def steps(self, net: Supernet, batch: Batch) -> Iterator[tuple[str, Iterable[Tensor]]]:
        path = self.space.random(np.random.default_rng((self.seed, batch.step)))
        yield "weights", (self.task.loss(net(batch.given, path), batch.targets) for _ in range(1))
