"""The interfaces, nothing else. A method is a class or function that satisfies one; nobody inherits from anything.

Each protocol argues for itself: what it is for, and the law a contract test holds it to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from hwnas.network import Network, Node, Port
from hwnas.space import Architecture, SearchSpace, Selection

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn
    from torch.optim import Optimizer


@dataclass(frozen=True)
class Batch:
    """One batch: `inputs` by the network's input names, each (N, ...), and `targets` (N, ...).

    `step`, which the training loop sets, counts batches from 0, and `progress` is the share of the training's steps
    that are done, in [0, 1): for temperatures and warm-ups. `held_out` is a second batch of the same size from
    examples that no `inputs` of this training are of; None unless the rule asks (`NeedsHeldOut`).

    A rule draws its randomness from (its seed, `step`), never from a running generator: a resumed run repeats an
    undisturbed one exactly.
    """

    inputs: Mapping[str, Tensor]
    targets: Tensor
    step: int = 0
    progress: float = 0.0
    held_out: Batch | None = None

    @property
    def given(self) -> Any:
        """What a net is called with: the tensor of the one input, or all inputs by name."""
        return self.images if len(self.inputs) == 1 else self.inputs

    @property
    def images(self) -> Tensor:
        """The tensor of the one input: float32 (N, C, H, W) where that is an image."""
        (only,) = self.inputs.values()
        return only

    @property
    def labels(self) -> Tensor:
        """The targets, where they are classes: int64 (N,)."""
        return self.targets


@runtime_checkable
class Batches(Protocol):
    """A data set's examples by split ("train", "validation", "test") and index, what the training loop reads: targets
    (n, ...) of a split, and batches of its examples. Law: that of `Data`."""

    def sizes(self) -> Mapping[str, int]: ...

    def targets(self, split: str) -> np.ndarray: ...

    def batch(self, split: str, indices: np.ndarray | slice, augment: Any = None) -> Batch: ...


class Data(Batches, Protocol):
    """A checked data set, whatever its examples are. The training loop owns order, epoch and step.

    `inputs` says what an example is, without the batch; `facts` are arguments of the search space by name (classes,
    in_channels, vocabulary, scale, ...); `notes` are lines for the person who runs this. Law: `batch` remembers
    nothing, equal data have equal `digest`s, and `targets(split)[indices]` are the targets of `batch(split, indices)`.
    """

    @property
    def name(self) -> str: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def digest(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, Port]: ...

    @property
    def facts(self) -> Mapping[str, Any]: ...


@runtime_checkable
class Named(Protocol):
    """Data whose outputs have names, for reports and manifests: `classes` in the order of a net's outputs. Law: there
    are as many as the net has outputs, and no two are alike."""

    @property
    def classes(self) -> tuple[str, ...]: ...


@runtime_checkable
class Task(Protocol):
    """What a net is trained for. `metric` names what `reduce` gives, higher is better; `unit` is "%" where that is a
    share in [0, 1].

    `loss` and `distil` take tensors, are means over the batch, and have a gradient. The rest is numpy: `statistics`
    (N, k) are of one example each, the last column its loss as it is judged (without smoothing or other aids of
    training). Outputs are (N, ...), or of a network with several a mapping of them by name. Law: `reduce` depends on
    the statistics' mean alone, so that sets can be put together and intervals follow from single examples; `same` is
    true of an output and itself.
    """

    @property
    def metric(self) -> str: ...

    @property
    def unit(self) -> str: ...

    def loss(self, outputs: Any, targets: Tensor) -> Tensor: ...

    def distil(self, student: Any, teacher: Any) -> Tensor: ...

    def statistics(self, outputs: Any, targets: np.ndarray) -> np.ndarray: ...

    def reduce(self, statistics: np.ndarray) -> float: ...

    def same(self, got: Any, expected: Any) -> np.ndarray: ...

    def baseline(self, data: Data) -> tuple[str, float]: ...


@runtime_checkable
class Supernet(Protocol):
    """A weight-sharing net: inputs (N, ...) to outputs (N, ...) of the network that a selection lowers to, several of
    either by name. `tensors` are the parameters of the operator at a node of that network, by "<layer>.<parameter>":
    what `extract` copies. It is a torch module. Law: a call leaves no state."""

    space: SearchSpace

    def __call__(self, inputs: Tensor | Mapping[str, Tensor], selection: Selection) -> Any: ...

    def tensors(self, node: Node, selection: Selection) -> Mapping[str, Tensor]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


Groups = str | tuple[str, ...]  # one group of parameters, or several that one backward pass steps


@runtime_checkable
class TrainingRule(Protocol):
    """Turns a batch into optimiser steps. `steps` yields (group or groups, losses), each loss a scalar.

    Law: the losses follow from the net, the batch, the seed and the batch's step alone, so that a resumed run repeats
    an undisturbed one. Those of a step are consumed (each is back-propagated as it comes) and its groups stepped before
    the next is asked for, so what stands after a `yield` runs after that step. A group that is not yielded is left as
    it is: that is how one is frozen during a warm-up. What else a rule may have are the protocols below.
    """

    def groups(self, net: Supernet) -> Mapping[str, Iterable[nn.Parameter]]: ...

    def steps(self, net: Supernet, batch: Batch) -> Iterator[tuple[Groups, Iterable[Tensor]]]: ...


@runtime_checkable
class OwnOptimiser(Protocol):
    """A rule that brings optimisers of its own. None: the loop's AdamW with the schedule's rate and decay.

    The loop leaves the rates of a rule's own optimiser alone unless the rule is an `OwnRate`. Gradients are clipped to
    the schedule's norm, or to what a parameter group says under "clip" (math.inf: not at all). Law: it holds the
    parameters it was given, and its state is saved and loaded with the net's.
    """

    def optimiser(self, group: str, parameters: list[nn.Parameter]) -> Optimizer | None: ...


@runtime_checkable
class OwnRate(Protocol):
    """A rule that sets learning rates: that of a group at `progress` in [0, 1), where the schedule says `scheduled`.
    Every optimiser has its rate before the rule's `steps` begin. Law: it is at least 0 and follows from these three
    alone, so that a resumed run has the same."""

    def rate(self, group: str, progress: float, scheduled: float) -> float: ...


@runtime_checkable
class NeedsHeldOut(Protocol):
    """A rule that may ask for `Batch.held_out`: half of the training examples then train, the others are held out. Law:
    whether it asks is settled when it is made, since it decides what is trained on."""

    needs_validation_batch: bool


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
    """A sampler or rule with a memory that cannot be replayed cheaply (architecture parameters, a tree, an average).
    Law: one made with the same arguments that loads the state goes on as the first would have; the state is plain
    values (of a rule also tensors). A rule's is saved with the net after every epoch; `load` may come before or after
    `groups`."""

    def state(self) -> Mapping[str, Any]: ...

    def load(self, state: Mapping[str, Any], /) -> None: ...


@runtime_checkable
class Scorer(Protocol):
    """Scores architectures: float64 (n,) accuracies in [0, 1], or (n, 2) accuracies and validation losses, which tell
    near ties apart. Law: a score depends on the architecture's network alone, not on what else was asked, so that kept
    scores stand for asking again. A plain function is a scorer."""

    def __call__(self, architectures: Sequence[Architecture], /) -> np.ndarray: ...


@runtime_checkable
class HasUnit(Protocol):
    """A scorer whose scores measure something: `unit` is that of the first column, "%" for a share in [0, 1] (a task's
    metric). Others only rank, and are shown as bare numbers. Law: it does not change."""

    @property
    def unit(self) -> str: ...


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
    """A training rule that decodes itself: the architecture it would choose now. Law: it is of the rule's space, and
    asking changes nothing, so that a report may ask in the middle of training."""

    def pick(self) -> Architecture: ...


@runtime_checkable
class Mixes(Protocol):
    """A training rule with architecture parameters: the selection it trains, a `Mix` for every relaxed choice. Law: it
    has a value for every choice of the space, and the space lowers it."""

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


@runtime_checkable
class ReadsFiles(Protocol):
    """A wrapper whose supernet starts from a file besides its settings, or from none (`start` None). `digest` of what
    the file holds is part of the supernet's identity, and `begin` gives a supernet that this wrapper made those
    weights: before training, so that what is trained needs the file no more.

    Law: `digest` follows from the file's content alone; HwnasError from either where that is of another space, of other
    data, or no supernet.
    """

    @property
    def start(self) -> Path | None: ...

    def digest(self) -> str: ...

    def begin(self, net: Any, /) -> None: ...


class Exact(Protocol):
    """What one network will be measured at, for a cost that is not the sum of its parts (the arena of a compiled
    program). Law: it is never below the `Costing` of the same name, which is then a lower bound that prunes."""

    def __call__(self, network: Network, /) -> float: ...
