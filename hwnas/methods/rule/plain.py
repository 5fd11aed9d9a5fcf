"""Plain: cross-entropy on a stand-alone net, one step a batch (the way any classifier is trained).

Baseline: the net as it was before, with the weights that the supernet lends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hwnas.protocols import Batch


class Plain:
    """For nets that take images alone; architectures play no part."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def groups(self, net: Any) -> Mapping[str, Iterable[nn.Parameter]]:
        return {"weights": net.parameters()}

    def steps(self, net: Any, batch: Batch) -> Iterator[tuple[str, Iterable[Tensor]]]:
        yield (
            "weights",
            (cross_entropy(net(batch.images), batch.labels, label_smoothing=self.label_smoothing) for _ in range(1)),
        )
