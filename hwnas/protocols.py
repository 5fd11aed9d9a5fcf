"""The interfaces, nothing else. A method is a class or function that satisfies one; nobody inherits from anything.

Each protocol argues for itself: what it is for, and the law a contract test holds it to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from hwnas.network import Network, Node
from hwnas.space import Architecture, Selection

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """One batch. `images` float32 (N, C, H, W), `labels` int64 (N,); `step`, which the training loop sets, counts
    optimiser batches from 0.

    A rule draws its randomness from (its seed, `step`), never from a running generator: a resumed run repeats an
    undisturbed one exactly.
    """

    images: Tensor
    labels: Tensor
    step: int = 0


@runtime_checkable
class Supernet(Protocol):
    """A weight-sharing net. `tensors` are the parameters of the operator at a node of the selection's network, by
    "<layer>.<parameter>": what `extract` copies. Law: a call leaves no state."""

    def __call__(self, inputs: Tensor | Mapping[str, Tensor], selection: Selection) -> Tensor: ...

    def tensors(self, node: Node, selection: Selection) -> Mapping[str, Tensor]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


@runtime_checkable
class TrainingRule(Protocol):
    """Turns a batch into optimiser steps. `steps` yields (group, losses); the losses of a step are consumed (each is
    back-propagated as it comes) before the next step is asked for."""

    def groups(self, net: Supernet) -> Mapping[str, Iterable[nn.Parameter]]: ...

    def steps(self, net: Supernet, batch: Batch) -> Iterator[tuple[str, Iterable[Tensor]]]: ...


@runtime_checkable
class Examples(Protocol):
    """A data set as torch has it: (image, label) by index. Law: it has a length, and an index past it is IndexError."""

    def __getitem__(self, index: int, /) -> Any: ...


@runtime_checkable
class Sampler(Protocol):
    """Proposes architectures. Law: `ask(n)` returns at most n architectures of the space and, with the same seed and
    the same scores told, the same ones; `tell` takes scores (n,) or (n, objectives), higher is better."""

    def ask(self, n: int) -> list[Architecture]: ...

    def tell(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None: ...


class Scorer(Protocol):
    """Scores architectures: float64 (n,) accuracies, or (n, 2) accuracies and validation losses, which tell near ties
    apart. A plain function is a scorer."""

    def __call__(self, architectures: Sequence[Architecture], /) -> np.ndarray: ...


class Exact(Protocol):
    """What one network will be measured at, for a cost that is not the sum of its parts (the arena of a compiled
    program). Law: it is never below the `Costing` of the same name, which is then a lower bound that prunes."""

    def __call__(self, network: Network, /) -> float: ...


class CostModel(Protocol):
    """The cost of a network in `unit`: a float when hard, a differentiable tensor when soft."""

    unit: str

    def __call__(self, network: Network) -> Any: ...
