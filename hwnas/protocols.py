"""The interfaces, nothing else. A method is a class or function that satisfies one; nobody inherits from anything.

Each protocol argues for itself: what it is for, and the law a contract test holds it to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from hwnas.network import Network, Node
from hwnas.space import Architecture, SearchSpace, Selection

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


@runtime_checkable
class Stateful(Protocol):
    """A sampler, rule or wrapper with a memory that cannot be replayed cheaply. Law: one made with the same arguments
    that loads the state goes on as the first would have; the state is plain values (of a rule also tensors)."""

    def state(self) -> Mapping[str, Any]: ...

    def load(self, state: Mapping[str, Any], /) -> None: ...


@runtime_checkable
class Scorer(Protocol):
    """Scores architectures: float64 (n,) accuracies in [0, 1], or (n, 2) accuracies and validation losses, which tell
    near ties apart. Law: a score depends on the architecture's network alone, not on what else was asked, so that kept
    scores stand for asking again. A plain function is a scorer."""

    def __call__(self, architectures: Sequence[Architecture], /) -> np.ndarray: ...


Evaluate = Scorer  # what a decoder is handed: the search's own scorer, whose answers are kept


@runtime_checkable
class Predictor(Protocol):
    """Learns scores from codes. `codes` int64 (n, choices) are option indices, -1 where no live slot reads the choice
    (`SearchSpace.live_codes`); scores float64 (n,), higher is better; `predict` gives mean and standard deviation,
    float64 (n,) each, the latter above 0. Law: a fit forgets the one before, and the order of its examples is nothing.
    """

    def fit(self, codes: np.ndarray, scores: np.ndarray) -> None: ...

    def predict(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


@runtime_checkable
class Proxy(Protocol):
    """A figure of a stand-alone net that nobody trained: finite of at least 0, higher is better. Law: the net is
    as it was afterwards, and the same net gives the same figure."""

    def __call__(self, net: Any, /) -> float: ...


@runtime_checkable
class Picks(Protocol):
    """A training rule that decodes itself: the architecture it would choose now."""

    def pick(self) -> Architecture: ...


@runtime_checkable
class Mixes(Protocol):
    """A training rule with architecture parameters: the selection it trains, a `Mix` for every relaxed choice."""

    def mixture(self) -> Selection: ...


@runtime_checkable
class Decoder(Protocol):
    """Reads one architecture of `space` out of a trained supernet and its rule; `evaluate` scores architectures where
    the decoder asks the net (perturbation). Law: the same net and state give the same architecture."""

    def decode(self, net: Supernet, rule: TrainingRule, space: SearchSpace, evaluate: Evaluate) -> Architecture: ...


@runtime_checkable
class Wrapper(Protocol):
    """Makes the supernet that is trained and searched out of the weight-sharing one: routes, mixes or splits it. Law:
    what it gives is a `Supernet` of the same space, whose parameters are those that train."""

    def __call__(self, net: Any, /) -> Supernet: ...


class Exact(Protocol):
    """What one network will be measured at, for a cost that is not the sum of its parts (the arena of a compiled
    program). Law: it is never below the `Costing` of the same name, which is then a lower bound that prunes."""

    def __call__(self, network: Network, /) -> float: ...
