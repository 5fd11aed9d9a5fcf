"""DARTS: descend in a softmax mixture of all options (Liu et al., ICLR 2019, arXiv:1806.09055).

    x = sum_o softmax(alpha_c)_o  o(x)                  for every choice c, its options o
    alpha: L_val(w, alpha), w: L_train(w, alpha)        a step each, alpha first, on disjoint halves of the training set
    order 1: d alpha = grad_alpha L_val(w, alpha)
    order 2: w' = w - xi (m b + grad_w L_train(w, alpha) + d w),  v = grad_w' L_val(w', alpha),  w+- = w +- e v
             d alpha = grad_alpha L_val(w', alpha)
                       - xi [grad_alpha L_train(w+, alpha) - grad_alpha L_train(w-, alpha)] / 2e

with e = 0.01 / |v|, xi the rate of w, m its momentum, b the momentum buffer and d its decay: as in the authors' code.

Differs: rates fall with every step, not every epoch; a pick is the largest weight of every choice (the paper keeps two
edges a node, which is a matter of its cell); batch norm is as the space has it, and one that scales its outputs makes
alpha mean less. In several processes each unrolls its own share of the batch.
Baseline: random architectures, and in nas_bench_201 the cell of 3x3 convolutions alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hwnas.errors import HwnasError
from hwnas.methods.rule._bilevel import Bilevel, choices_to_relax
from hwnas.protocols import Batch, Supernet, Task
from hwnas.space import Architecture, Choice, Mix, SearchSpace, Selection
from hwnas.tasks.classify import Classify

EPSILON = 0.01  # of the finite difference, over the length of v


class Darts:
    """Two groups, `weights` (SGD) and `alpha` (Adam). The run file's learning_rate and weight_decay play no part."""

    needs_validation_batch = True

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        task: Task = Classify(),
        order: int = 1,
        relax: Sequence[str] | None = None,
        alpha_rate: float = 3e-4,
        alpha_decay: float = 1e-3,
        weights_rate: float = 0.025,
        weights_last_rate: float = 0.001,
        momentum: float = 0.9,
        weights_decay: float = 3e-4,
    ) -> None:
        """`relax` are the choices to mix, by name or pattern; by default all that are of the architecture itself. What
        is not mixed is as in the space's largest network. HwnasError for a choice whose options do not fit together."""
        if order not in (1, 2):
            raise HwnasError(f"order must be 1 or 2, got {order!r}")
        self.space, self.task, self.order = space, task, order
        self.relaxed = _relaxed(space, relax)
        self.bilevel = Bilevel(
            self.relaxed, seed, alpha_rate=alpha_rate, alpha_decay=alpha_decay, weights_rate=weights_rate,
            weights_last_rate=weights_last_rate, momentum=momentum, weights_decay=weights_decay,
        )  # fmt: skip
        self.alpha = self.bilevel.alpha

    def groups(self, net: Supernet) -> Mapping[str, list[nn.Parameter]]:
        return self.bilevel.groups(net)

    def optimiser(self, group: str, parameters: list[nn.Parameter]) -> Optimizer:
        return self.bilevel.optimiser(group, parameters)

    def rate(self, group: str, progress: float, scheduled: float) -> float:
        """Half a cosine from `weights_rate` to `weights_last_rate` for the weights, constant for alpha."""
        return self.bilevel.rate(group, progress)

    def steps(self, net: Supernet, batch: Batch) -> Iterator[tuple[str, Iterator[Tensor]]]:
        held = batch.held_out
        if held is None:
            raise HwnasError("DARTS needs a held-out batch for its architecture parameters")
        # Lazily: alpha's gradient is of the weights before their step, the weights' of alpha after its own.
        yield "alpha", (self._loss(net, held) if self.order == 1 else self._unrolled(net, batch, held) for _ in "1")
        yield "weights", (self._loss(net, batch) for _ in "1")

    def _loss(self, net: Supernet, batch: Batch) -> Tensor:
        return self.task.loss(net(batch.given, self.mixture()), batch.targets)

    def _unrolled(self, net: Supernet, batch: Batch, held: Batch) -> Tensor:
        """The held-out loss after one step of the weights, whose gradient is the second-order one."""
        weights, alphas = list(net.parameters()), list(self.alpha.values())
        before = [weight.detach().clone() for weight in weights]
        rate = self._rate(batch)
        descent = _gradients(self._loss(net, batch), weights)
        try:
            _move(weights, before, [self._direction(w, g) for w, g in zip(weights, descent, strict=True)], -rate)
            loss = self._loss(net, held)
            found = _gradients(loss, [*weights, *alphas])
            along, gradient = found[: len(weights)], found[len(weights) :]
            length = math.sqrt(sum(float((v.double() ** 2).sum()) for v in along))
            if length > 0:
                epsilon, sides = EPSILON / length, []
                for sign in (1.0, -1.0):
                    _move(weights, before, along, sign * epsilon)
                    sides.append(_gradients(self._loss(net, batch), alphas))
                gradient = [
                    g - rate * (above - below) / (2 * epsilon) for g, above, below in zip(gradient, *sides, strict=True)
                ]
        finally:
            _move(weights, before, before, 0.0)
        linear = torch.stack([(a * g).sum() for a, g in zip(alphas, gradient, strict=True)]).sum()
        return loss.detach() + linear - linear.detach()

    def _rate(self, batch: Batch) -> float:
        """What the weights will be stepped with: what the loop has set, which may be lower than this rule's own."""
        if self.bilevel.sgd is None:
            return self.rate("weights", batch.progress, 0.0)
        return float(self.bilevel.sgd.param_groups[0]["lr"])

    def _direction(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """What SGD would step along: m b + g + d w."""
        sgd = self.bilevel.sgd
        held = sgd.state.get(weight, {}).get("momentum_buffer") if sgd is not None else None
        kept = torch.zeros_like(gradient) if held is None else self.bilevel.momentum * held
        return kept + gradient + self.bilevel.weights_decay * weight.detach()

    def mixture(self) -> Selection:
        """What is trained: a Mix of softmax(alpha) for every relaxed choice."""
        mixed = {c.name: Mix(c.options, torch.softmax(self.alpha[c.name], 0)) for c in self.relaxed}
        return {**self.space.largest(), **mixed}

    def pick(self) -> Architecture:
        """The option of largest weight of every choice; the first where several are."""
        return self.bilevel.pick(self.space)

    def state(self) -> Mapping[str, dict[str, Tensor]]:
        return self.bilevel.state()

    def load(self, state: Mapping[str, dict[str, Tensor]], /) -> None:
        self.bilevel.load(state)


def _relaxed(space: SearchSpace, patterns: Sequence[str] | None) -> list[Choice]:
    """The choices to mix; HwnasError where the options of one cannot be summed, or there are none."""
    chosen = choices_to_relax(space, patterns)
    for choice in chosen:
        even = Mix(choice.options, (1 / len(choice.options),) * len(choice.options))
        try:
            space.lower({**space.largest(), choice.name: even})
        except HwnasError as problem:
            raise HwnasError(
                f"{choice.name} of space {space.name!r} cannot be mixed, since its options give different shapes "
                f"({problem.message})",
                hint="widths and resolutions are picked hard: leave the choice one option, or name others under relax; "
                "rule.tanglenas mixes widths",
            ) from None
    return chosen


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Gradients, zero where the loss does not depend on a parameter."""
    found = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


def _move(weights: Sequence[Tensor], start: Sequence[Tensor], along: Sequence[Tensor], by: float) -> None:
    """weights = start + by * along, in place."""
    with torch.no_grad():
        for weight, origin, direction in zip(weights, start, along, strict=True):
            weight.copy_(origin + by * direction if by else origin)
