"""Sandwich: largest, smallest and random paths a step, the largest teaches (Yu and Huang, ICCV 2019, arXiv:1903.05134).

Differs: where precision is a choice, there is a largest and a smallest path for every precision, and the most precise
largest one teaches all others; in-place distillation uses the teacher's soft labels plus, by `hard`, the true ones.
Baseline: rule.single_path at equal epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from hwnas.errors import HwnasError
from hwnas.protocols import Batch, Supernet, Task
from hwnas.space import Architecture, SearchSpace, Value
from hwnas.tasks.classify import Classify


class Sandwich:
    """Algorithm 1 of the paper: gradients of all paths are accumulated, then one optimiser step."""

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        random_paths: int = 2,
        hard: float = 0.5,
        turns: Sequence[str] | None = None,
        task: Task = Classify(),
    ) -> None:
        """`turns` are the precisions the students take, one a step, over and over; all of the space's by default.
        HwnasError where the space has none of a turn's name."""
        self.space, self.seed, self.task = space, seed, task
        self.random_paths, self.hard = random_paths, hard
        known = list(dict.fromkeys(str(p) for c in space.choices if c.role == "precision" for p in c.options))
        for precision in turns or ():
            if precision not in known:
                raise HwnasError(f"turns must be among the space's precisions {', '.join(known)}, got {precision!r}")
        self.precisions = list(turns) if turns else known[::-1]
        self.teacher = space.largest()

    def groups(self, net: Supernet) -> Mapping[str, Iterable[nn.Parameter]]:
        return {"weights": net.parameters()}

    def steps(self, net: Supernet, batch: Batch) -> Iterator[tuple[str, Iterable[Tensor]]]:
        yield "weights", self._losses(net, batch)

    def _losses(self, net: Supernet, batch: Batch) -> Iterator[Tensor]:
        taught = net(batch.given, self.teacher)
        teacher = _detached(taught)
        yield self.task.loss(taught, batch.targets)
        for path in self.paths(batch.step):
            outputs = net(batch.given, path)
            distilled = self.task.distil(outputs, teacher)
            yield self.hard * self.task.loss(outputs, batch.targets) + (1 - self.hard) * distilled

    def paths(self, step: int) -> list[Architecture]:
        """The students of a step: extremes and random paths; half of the random ones of a single precision."""
        rng = np.random.default_rng((self.seed, step))
        precision = self.precisions[step % len(self.precisions)] if self.precisions else ""
        extremes = [
            self.of_precision(self.space.largest(), precision),
            self.of_precision(self.space.smallest(), precision),
        ]
        drawn = [self.space.random(rng) for _ in range(self.random_paths)]
        drawn = [self.of_precision(path, precision) if i % 2 == 0 else path for i, path in enumerate(drawn)]
        return [path for path in dict.fromkeys([*extremes, *drawn]) if path != self.teacher]

    def of_precision(self, path: Architecture, precision: str) -> Architecture:
        """`path` with every precision choice that offers `precision` set to it."""
        values: dict[str, Value] = dict(path)
        for choice in self.space.choices:
            if choice.role == "precision" and precision in choice.options:
                values[choice.name] = precision
        return Architecture(values)


def _detached(outputs: Any) -> Any:
    """The output, or all of several by name, without the graph that made it."""
    return {name: x.detach() for name, x in outputs.items()} if isinstance(outputs, Mapping) else outputs.detach()
