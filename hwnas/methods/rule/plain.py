"""Plain: the task's loss on a stand-alone net, one step a batch (the way any net is trained).

Baseline: the net as it was before, with the weights that the supernet lends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from hwnas.protocols import Batch, Task
from hwnas.tasks.classify import Classify


class Plain:
    """For nets that take inputs alone; architectures play no part."""

    def __init__(self, task: Task = Classify()) -> None:
        self.task = task

    def groups(self, net: Any) -> Mapping[str, Iterable[nn.Parameter]]:
        return {"weights": net.parameters()}

    def steps(self, net: Any, batch: Batch) -> Iterator[tuple[str, Iterable[Tensor]]]:
        yield "weights", (self.task.loss(net(batch.given), batch.targets) for _ in range(1))
