"""What DARTS and its kin share: architecture parameters, an optimiser for them and one for the weights, their rates.

    alpha <- Adam grad_alpha L_val,  w <- w - SGD grad_w L_train       on disjoint halves of the training set

Constants are those of the authors' code of DARTS (arXiv:1806.09055) unless a rule says otherwise.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from hwnas.errors import HwnasError, unknown
from hwnas.protocols import Supernet
from hwnas.space import Architecture, Choice, SearchSpace


class Bilevel:
    """`alpha`: a parameter (options,) for each of `choices`, by name. Two groups: `weights` (SGD) and `alpha` (Adam).

    What stands in a rule's own `groups`, `optimiser`, `rate`, `state` and `load`.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        seed: int,
        *,
        alpha_rate: float,
        alpha_decay: float,
        weights_rate: float,
        weights_last_rate: float,
        momentum: float,
        weights_decay: float,
    ) -> None:
        self.choices = list(choices)
        self.alpha_rate, self.alpha_decay = alpha_rate, alpha_decay
        self.weights_rate, self.weights_last_rate = weights_rate, weights_last_rate
        self.momentum, self.weights_decay = momentum, weights_decay
        generator = torch.Generator().manual_seed(seed)
        self.alpha = {
            choice.name: nn.Parameter(1e-3 * torch.randn(len(choice.options), generator=generator))
            for choice in self.choices
        }
        self.sgd: Optimizer | None = None  # that of the weights, once it is made

    def groups(self, net: Supernet) -> Mapping[str, list[nn.Parameter]]:
        weights = list(net.parameters())
        for alpha in self.alpha.values():
            alpha.data = alpha.data.to(weights[0])  # where the net is, and as precise
        return {"weights": weights, "alpha": list(self.alpha.values())}

    def optimiser(self, group: str, parameters: list[nn.Parameter]) -> Optimizer:
        if group == "alpha":
            free = {"params": parameters, "clip": math.inf}
            return Adam([free], self.alpha_rate, betas=(0.5, 0.999), weight_decay=self.alpha_decay)
        self.sgd = SGD(parameters, self.weights_rate, self.momentum, weight_decay=self.weights_decay)
        return self.sgd

    def rate(self, group: str, progress: float) -> float:
        """Half a cosine from `weights_rate` to `weights_last_rate` for the weights, constant for alpha."""
        if group == "alpha":
            return self.alpha_rate
        span = self.weights_rate - self.weights_last_rate
        return self.weights_last_rate + 0.5 * span * (1 + math.cos(math.pi * progress))

    def pick(self, space: SearchSpace) -> Architecture:
        """The option of largest alpha of every choice, the first where several are; the rest as in the largest net."""
        best = {c.name: c.options[int(self.alpha[c.name].argmax())] for c in self.choices}
        return space.architecture({**space.largest(), **best})

    def state(self) -> Mapping[str, dict[str, Tensor]]:
        return {"alpha": {name: alpha.detach().cpu().clone() for name, alpha in self.alpha.items()}}

    def load(self, state: Mapping[str, dict[str, Tensor]], /) -> None:
        with torch.no_grad():
            for name, alpha in self.alpha.items():
                alpha.copy_(state["alpha"][name])


def choices_to_relax(space: SearchSpace, patterns: Sequence[str] | None) -> list[Choice]:
    """The choices of several options that these names and patterns mean, by default those of the architecture itself;
    HwnasError where there are none, or a pattern means none."""
    for pattern in patterns or ():
        if not any(fnmatch.fnmatchcase(name, pattern) for name in space.by_name):
            raise unknown(f"choice of space {space.name!r}", pattern, space.by_name)
    chosen = [
        choice
        for choice in space.choices
        if len(choice.options) > 1
        and (
            choice.role == "architecture"
            if patterns is None
            else any(fnmatch.fnmatchcase(choice.name, p) for p in patterns)
        )
    ]
    if not chosen:
        raise HwnasError(f"space {space.name!r} has no choice to relax", hint="relax: [names or patterns of choices]")
    return chosen
