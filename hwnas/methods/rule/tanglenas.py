"""TangleNAS: descend in a mixture of entangled weights, one pass (Sukthanker et al., AutoML 2024, arXiv:2312.10440).

    W = sum_i p_i pad0(W_i)                         the options' parts of one tensor: kernels, widths, expansions
    p ~ Dirichlet(elu(alpha) + 1)                   a draw a choice and pass, differentiated through (rsample)
    alpha: L_val(w, alpha), w: L_train(w, alpha)    a step each, alpha first, on disjoint halves of the training set

A tensor that several choices size takes the product of their p, and a width has one p wherever it is: what a layer
gives is what the next reads. What is no part of one tensor (depth, squeeze-and-excite) is mixed by outputs. All as in
the authors' code, whose MobileNet search has DrNAS's Dirichlet by default; its `sparsemax` of alpha, and the `softmax`
of its mixtures by outputs, are other weightings.

Differs: a block that may be missing is mixed with its input, one after the other (the code mixes a stage's outputs
after each depth); no kernel transform; rates fall with every step; formats and resolutions are not mixed. Where a width
decides whether there is a shortcut, or a norm is over channels, it is mixed by outputs too, padded with zeros.
Baseline: rule.single_path with evolution at equal steps, random architectures of equal cost, and the largest network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hwnas.errors import HwnasError, unknown
from hwnas.methods.rule._bilevel import Bilevel, choices_to_relax
from hwnas.methods.rule._superposition import Superposition
from hwnas.protocols import Batch, Supernet, Task
from hwnas.space import Architecture, SearchSpace
from hwnas.tasks.classify import Classify

__all__ = ["TangleNas"]


class TangleNas:
    """Two groups, `weights` (SGD) and `alpha` (Adam). The run file's learning_rate and weight_decay play no part."""

    needs_validation_batch = True

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        task: Task = Classify(),
        weighting: str = "dirichlet",
        relax: Sequence[str] | None = None,
        alpha_rate: float = 3e-4,
        alpha_decay: float = 1e-3,
        weights_rate: float = 0.025,
        weights_last_rate: float = 0.001,
        momentum: float = 0.9,
        weights_decay: float = 3e-4,
    ) -> None:
        """`weighting` is dirichlet, softmax or sparsemax. `relax` are the choices to mix, by name or pattern; by
        default all that are of the architecture itself. What is not mixed is as in the space's largest network.
        HwnasError where the space shares no weights that could be mixed."""
        if weighting not in WEIGHTINGS:
            raise unknown("weighting", str(weighting), WEIGHTINGS)
        self.space, self.seed, self.task, self.weighting = space, seed, task, weighting
        chosen = choices_to_relax(space, relax)
        self.superposition = Superposition(space, chosen)
        self.bilevel = Bilevel(
            chosen, seed, alpha_rate=alpha_rate, alpha_decay=alpha_decay, weights_rate=weights_rate,
            weights_last_rate=weights_last_rate, momentum=momentum, weights_decay=weights_decay,
        )  # fmt: skip
        self.alpha = self.bilevel.alpha

    def groups(self, net: Supernet) -> Mapping[str, list[nn.Parameter]]:
        self.superposition.require_entangled(net)
        return self.bilevel.groups(net)

    def optimiser(self, group: str, parameters: list[nn.Parameter]) -> Optimizer:
        return self.bilevel.optimiser(group, parameters)

    def rate(self, group: str, progress: float, scheduled: float) -> float:
        """Half a cosine from `weights_rate` to `weights_last_rate` for the weights, constant for alpha."""
        return self.bilevel.rate(group, progress)

    def steps(self, net: Supernet, batch: Batch) -> Iterator[tuple[str, Iterator[Tensor]]]:
        held = batch.held_out
        if held is None:
            raise HwnasError("TangleNAS needs a held-out batch for its architecture parameters")
        # Lazily: alpha's gradient is of the weights before their step, the weights' of alpha after its own.
        yield "alpha", (self._loss(net, held, (batch.step, 0)) for _ in "1")
        yield "weights", (self._loss(net, batch, (batch.step, 1)) for _ in "1")

    def _loss(self, net: Supernet, batch: Batch, turn: tuple[int, int]) -> Tensor:
        return self.task.loss(self.superposition(net, batch.given, self.weights(turn)), batch.targets)

    def weights(self, turn: tuple[int, int]) -> dict[str, Tensor]:
        """p (options,) by choice, in a pass: the step, and whether it is alpha's (0) or the weights' (1)."""
        draw = WEIGHTINGS[self.weighting]
        entropy = np.random.SeedSequence((self.seed, *turn)).generate_state(1, np.uint64)[0]
        with torch.random.fork_rng(devices=[]):  # torch's Dirichlet has no generator of its own
            torch.default_generator.manual_seed(int(entropy))
            return {name: draw(alpha) for name, alpha in self.alpha.items()}

    def pick(self) -> Architecture:
        """The option of largest alpha of every choice; the first where several are."""
        return self.bilevel.pick(self.space)

    def state(self) -> Mapping[str, dict[str, Tensor]]:
        return self.bilevel.state()

    def load(self, state: Mapping[str, dict[str, Tensor]], /) -> None:
        self.bilevel.load(state)


def dirichlet(alpha: Tensor) -> Tensor:
    """A draw (n,) of Dirichlet(elu(alpha) + 1); its gradient is that of the draw's quantiles. Drawn on the CPU, so that
    it is the same wherever alpha is."""
    concentration = (nn.functional.elu(alpha.float() if alpha.dtype != torch.float64 else alpha) + 1).cpu()
    return torch.distributions.Dirichlet(concentration, validate_args=False).rsample().to(alpha)


def softmax(alpha: Tensor) -> Tensor:
    """exp(alpha) over its sum, (n,)."""
    return torch.softmax(alpha, 0)


def sparsemax(alpha: Tensor) -> Tensor:
    """The nearest point (n,) of the simplex: max(alpha - t, 0) with the t that makes the sum 1 (Martins and Astudillo,
    ICML 2016, arXiv:1602.02068)."""
    ordered = alpha.sort(descending=True).values
    ranks = torch.arange(1, len(alpha) + 1, dtype=alpha.dtype, device=alpha.device)
    above = ordered.cumsum(0) - 1
    support = int((ranks * ordered > above).sum())
    return (alpha - above[support - 1] / support).clamp(min=0)


WEIGHTINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "dirichlet": dirichlet,
    "softmax": softmax,
    "sparsemax": sparsemax,
}
