"""DARTS-PT: keep the option that the supernet misses most (Wang et al., ICLR 2021, arXiv:2108.04392).

    for every relaxed choice e, in random order:
        o* = argmin_o  accuracy of the supernet with weight(e, o) = 0, the other weights as they are
        e := o*,  and the supernet is tuned for `tune_epochs` before the next choice

The accuracy is of the whole validation split, with batch statistics; of equal ones, the largest loss decides. While
the supernet is tuned, the weights of the choices that are still open go on training.

Differs: topology (which two edges a node of the DARTS cell keeps) is no choice of the spaces here; a target's
precision stands over what was learnt. Both tune from a tenth of the rule's rates, here on the rule's own schedule.
Baseline: `decoder.argmax` on the same supernet.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.methods.decoder.argmax import Argmax
from hwnas.protocols import Batch, Data, Evaluate, Mixes, NeedsHeldOut, OwnOptimiser, OwnRate, Supernet, Task
from hwnas.protocols import TrainingRule as Rule
from hwnas.space import Architecture, Mix, SearchSpace, Selection, Value

if TYPE_CHECKING:
    from torch import Tensor, nn

SLOWER = 0.1  # of the rates that the supernet was trained with


class Perturbation:
    """Reads `mixture()` of the trained rule; HwnasError, before training, for a rule without it."""

    def __init__(
        self, rule: Rule, data: Data, task: Task, seed: int = 0, tune_epochs: int = 5, batch_size: int = 64
    ) -> None:
        if not isinstance(rule, Mixes):
            raise HwnasError(
                f"{type(rule).__name__} trains no weights of options: it has no mixture()",
                hint="a rule with architecture parameters, or a sampler instead of a decoder",
            )
        for name, value, least in (("tune_epochs", tune_epochs, 0), ("batch_size", batch_size, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise HwnasError(f"{name} must be a whole number of at least {least}, got {value!r}")
        self.data, self.task, self.seed = data, task, seed
        self.tune_epochs, self.batch_size = tune_epochs, batch_size

    def decode(self, net: Supernet, rule: Rule, space: SearchSpace, evaluate: Evaluate) -> Architecture:
        """Works on copies: the supernet that is searched and shipped from stays as training left it."""
        tuned, learnt = copy.deepcopy((net, rule))
        assert isinstance(learnt, Mixes)
        fixed: dict[str, Value] = {c.name: c.options[0] for c in space.choices if len(c.options) == 1}
        known = Argmax(learnt).decode(net, learnt, space, evaluate)  # of what the rule does not mix
        mixed = [name for name, value in learnt.mixture().items() if isinstance(value, Mix) and name not in fixed]
        fixed |= {name: value for name, value in known.items() if name not in mixed}
        order = np.random.default_rng(self.seed).permutation(len(mixed))
        for done, name in enumerate(mixed[i] for i in order):
            options = space.by_name[name].options
            judged = [self._without(tuned, learnt, fixed, name, option) for option in options]
            fixed[name] = options[min(range(len(options)), key=lambda i: judged[i])]
            if done < len(mixed) - 1:
                self._tune(tuned, learnt, fixed, done)
        return space.architecture(fixed)

    def _without(
        self, net: Supernet, rule: Mixes, fixed: Mapping[str, Value], name: str, option: Value
    ) -> tuple[float, float]:
        """(metric, minus loss) of the validation split with one option's weight at 0: smaller is missed more."""
        import torch

        from hwnas.train import evaluate

        with torch.no_grad():
            selection = {**rule.mixture(), **fixed}
            mix = selection[name]
            assert isinstance(mix, Mix)
            kept = torch.tensor([float(other != option) for other in mix.options])
            weights = torch.stack([torch.as_tensor(weight) for weight in mix.weights])
            selection[name] = Mix(mix.options, weights * kept.to(weights))
            found = evaluate(_selected(net, selection), self.data, "validation", task=self.task)
        return found.accuracy, -found.loss

    def _tune(self, net: Supernet, rule: Any, fixed: Mapping[str, Value], done: int) -> None:
        """`tune_epochs` of the rule at a tenth of its rates, the decided choices hard."""
        from hwnas.train import Schedule, train

        if self.tune_epochs:
            schedule = Schedule(
                self.tune_epochs, self.batch_size, Schedule.learning_rate * SLOWER, warmup=0, seed=self.seed + done
            )
            train(_selected(net, fixed), _Slower(rule), self.data, schedule, workers=0)


def _selected(net: Supernet, over: Selection) -> nn.Module:
    """The supernet as a module of its inputs and, where it is given one, a selection, over which `over` stands."""
    from torch import nn

    class Selected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, inputs: Tensor | Mapping[str, Tensor], selection: Selection | None = None) -> Tensor:
            """(N, ...) of inputs (N, ...)."""
            return self.net(inputs, {**(selection or {}), **over})

    return Selected()


class _Slower:
    """A rule whose rates are a tenth."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.needs_validation_batch = isinstance(rule, NeedsHeldOut) and rule.needs_validation_batch

    def groups(self, net: Supernet) -> Mapping[str, Iterable[nn.Parameter]]:
        return self.rule.groups(net)

    def steps(self, net: Supernet, batch: Batch) -> Iterator[Any]:
        return self.rule.steps(net, batch)

    def optimiser(self, group: str, parameters: list[nn.Parameter]) -> Any:
        return self.rule.optimiser(group, parameters) if isinstance(self.rule, OwnOptimiser) else None

    def rate(self, group: str, progress: float, scheduled: float) -> float:
        """The schedule's rate is a tenth already; one that the rule sets itself is made so."""
        own = isinstance(self.rule, OwnRate)
        return SLOWER * self.rule.rate(group, progress, scheduled) if own else scheduled  # type: ignore[attr-defined]
