"""Auto-DeepLab: relax the cell and the path through the strides, descend in both (Liu et al., CVPR 2019,
arXiv:1901.02985).

    alpha: the cell's operators, one softmax a choice, shared by all cells
    beta:  one softmax a node, over the edges that LEAVE it, so that each node hands on a weight of 1
    w <- w - SGD grad_w L_A(w, alpha, beta) on one half of the training set,
    alpha, beta <- Adam grad L_B(w, alpha, beta) on the other, from `search_from` of the training on

Differs: rates fall with every step; what the space differs in (spaces/auto_deeplab.py).
Baseline: paths of one stride, an hourglass path, and random paths, of equal cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from hwnas.errors import HwnasError
from hwnas.protocols import Batch, Supernet, Task
from hwnas.space import Mix, SearchSpace, Selection
from hwnas.spaces.auto_deeplab import Trellis, edge_name, end_name, stride_name


class AutoDeepLab:
    """Two groups: `weights` (SGD) and `architecture` (Adam). The run file's learning_rate and weight_decay play no
    part."""

    needs_validation_batch = True

    def __init__(
        self,
        space: SearchSpace,
        task: Task,
        seed: int = 0,
        search_from: float = 0.5,
        architecture_rate: float = 3e-3,
        architecture_decay: float = 1e-3,
        weights_rate: float = 0.025,
        weights_last_rate: float = 0.001,
        momentum: float = 0.9,
        weights_decay: float = 3e-4,
    ) -> None:
        """HwnasError for a space that is no trellis, or lacks strides between others."""
        if isinstance(search_from, bool) or not isinstance(search_from, int | float) or not 0 <= search_from < 1:
            raise HwnasError(
                f"search_from must be a share of the training, at least 0 and below 1, got {search_from!r}"
            )
        self.space, self.task, self.search_from = space, task, search_from
        self.architecture_rate, self.architecture_decay = architecture_rate, architecture_decay
        self.weights_rate, self.weights_last_rate = weights_rate, weights_last_rate
        self.momentum, self.weights_decay = momentum, weights_decay
        self.trellis = Trellis.of(space)
        strides = {stride_name(layer + 1) for layer in range(self.trellis.layers)}
        self.cells = [c for c in space.choices if c.role == "architecture" and c.name not in strides]
        generator = torch.Generator().manual_seed(seed)

        def near_zero(count: int) -> nn.Parameter:
            return nn.Parameter(1e-3 * torch.randn(count, generator=generator))

        self.alpha = {choice.name: near_zero(len(choice.options)) for choice in self.cells}
        leaving = {(layer - 1, source) for layer, source, _ in self.trellis.edges()}
        self.beta = {
            f"{layer}.{source}": near_zero(len(self.trellis.targets(layer, source)))
            for layer, source in sorted(leaving)
        }
        space.lower(self.mixture())  # refuses here what cannot be mixed, before anything trains

    def groups(self, net: Supernet) -> Mapping[str, list[nn.Parameter]]:
        weights, searched = list(net.parameters()), [*self.alpha.values(), *self.beta.values()]
        for parameter in searched:
            parameter.data = parameter.data.to(weights[0])  # where the net is, and as precise
        return {"weights": weights, "architecture": searched}

    def optimiser(self, group: str, parameters: list[nn.Parameter]) -> Optimizer:
        if group == "architecture":
            free = {"params": parameters, "clip": math.inf}
            return Adam([free], self.architecture_rate, weight_decay=self.architecture_decay)
        return SGD(parameters, self.weights_rate, self.momentum, weight_decay=self.weights_decay)

    def rate(self, group: str, progress: float, scheduled: float) -> float:
        """Half a cosine for the weights, constant for the architecture."""
        if group == "architecture":
            return self.architecture_rate
        span = self.weights_rate - self.weights_last_rate
        return self.weights_last_rate + 0.5 * span * (1 + math.cos(math.pi * progress))

    def steps(self, net: Supernet, batch: Batch) -> Iterator[tuple[str, Iterator[Tensor]]]:
        if batch.held_out is None:
            raise HwnasError("Auto-DeepLab needs a held-out batch for its architecture parameters")
        held = batch.held_out
        if batch.progress >= self.search_from:
            yield "architecture", (self._loss(net, held) for _ in "1")
        yield "weights", (self._loss(net, batch) for _ in "1")

    def _loss(self, net: Supernet, batch: Batch) -> Tensor:
        return self.task.loss(net(batch.given, self.mixture()), batch.targets)

    def mixture(self) -> Selection:
        """What is trained: a Mix of softmax(alpha) for every choice of the cell, of one option for every edge and end,
        and of the weight of all paths through it for every layer's stride."""
        trellis = self.trellis
        found: dict[str, Mix] = {c.name: Mix(c.options, torch.softmax(self.alpha[c.name], 0)) for c in self.cells}
        arrived: dict[int, Tensor] = {trellis.nodes(0)[0]: torch.ones(())}
        for layer in range(1, trellis.layers + 1):
            before, arrived = arrived, {}
            for source, weight in before.items():
                beta = torch.softmax(self.beta[f"{layer - 1}.{source}"], 0)
                for target, share in zip(trellis.targets(layer - 1, source), beta, strict=True):
                    found[edge_name(layer, source, target)] = Mix((True,), share[None])
                    arrived[target] = arrived.get(target, 0.0) + weight * share
            here = tuple(arrived)
            found[stride_name(layer)] = Mix(here, torch.stack([arrived[stride] for stride in here]))
        for stride, weight in arrived.items():
            found[end_name(stride)] = Mix((True,), weight[None])
        return {**self.space.largest(), **found}

    def state(self) -> Mapping[str, dict[str, Tensor]]:
        return {
            name: {key: value.detach().cpu().clone() for key, value in held.items()}
            for name, held in (("alpha", self.alpha), ("beta", self.beta))
        }

    def load(self, state: Mapping[str, dict[str, Tensor]], /) -> None:
        with torch.no_grad():
            for name, held in (("alpha", self.alpha), ("beta", self.beta)):
                for key, value in held.items():
                    value.copy_(state[name][key])
