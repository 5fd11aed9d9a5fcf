"""Few-shot NAS: a supernet for every option of one choice (Zhao et al., ICML 2021, arXiv:2006.06863).

    A = union_o A_o,  A_o = { a in A : a(choice) = o };   a is trained and scored in the supernet of A_a(choice) alone

Every part starts from the weights of a one-shot supernet, trained before by a run of its own (`start`), and trains on:
from scratch it would need the one-shot's epochs again.

    one-shot run:  train: {rule: {use: rule.single_path}, epochs: 20}
    few-shot run:  train: {rule: {use: rule.single_path}, epochs: 20,
                           wrapper: {use: wrapper.few_shot, choice: edge.0-1, start: runs/one-shot/supernet.pt}}

Differs: one choice is split, by default the space's first; its parts share one schedule, each trained by the steps that
fall to it.
Baseline: the one-shot supernet that is trained for as many epochs as both runs together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import HwnasError, unknown
from hwnas.network import Node
from hwnas.paths import digest_file
from hwnas.protocols import Supernet
from hwnas.space import Mix, SearchSpace, Selection, Value

if TYPE_CHECKING:
    from torch import Tensor


class FewShot:
    """`choice` is split; `start` is the `supernet.pt` of a run of the same space. HwnasError where the choice has one
    option or none of that name, or the file does not hold the space's weights."""

    def __init__(self, space: SearchSpace, seed: int = 0, choice: str | None = None, start: str | None = None) -> None:
        wide = [c.name for c in space.choices if c.role == "architecture" and len(c.options) > 1]
        if choice is not None and choice not in wide:
            raise unknown(f"choice of space {space.name!r} with several options", str(choice), wide)
        if not wide:
            raise HwnasError(f"space {space.name!r} has no choice to split")
        self.space, self.seed, self.choice = space, seed, choice or wide[0]
        self.start = None if start is None else Path(start)

    @property
    def digest(self) -> str:
        """Of the weights it starts from: a supernet trained from others is another."""
        if self.start is None:
            return "its own"
        if not self.start.is_file():
            raise HwnasError(f"train.wrapper: start {self.start} does not exist", hint="the supernet.pt of another run")
        return digest_file(self.start)

    def __call__(self, net: Any, /) -> Supernet:
        from hwnas.checkpoint import load_state, take_up

        if self.start is not None:
            take_up(net, load_state(self.start), self.start)
        return _split(net, self.space, self.choice, self.seed)


def _split(whole: Any, space: SearchSpace, choice: str, seed: int) -> Supernet:
    """A part for every option, each with the weights of the whole one that it can use."""
    import torch
    from torch import nn

    from hwnas.supernet import WeightSharing

    options = space.by_name[choice].options
    shared: Mapping[str, Tensor] = dict(whole.named_parameters())

    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.space = space
            parts = [WeightSharing(space.restrict({choice: [option]}), seed, whole.slicing) for option in options]
            with torch.no_grad():
                for part in parts:
                    for name, parameter in part.named_parameters():
                        parameter.copy_(whole.slicing(shared[name], tuple(parameter.shape)))
            self.parts = nn.ModuleList(parts)

        def part(self, selection: Selection) -> Any:
            value: Value | Mix = selection[choice]
            if isinstance(value, Mix):
                raise HwnasError(
                    f"{choice} is split, and cannot be mixed",
                    hint="a rule that draws hard architectures, or relax others",
                )
            return self.parts[options.index(value)]

        def tensors(self, node: Node, selection: Selection) -> Mapping[str, Tensor]:
            """Those of the part that the selection is in, of any shape."""
            found: Mapping[str, Tensor] = self.part(selection).tensors(node, selection)
            return found

        def forward(self, inputs: Tensor | Mapping[str, Tensor], selection: Selection) -> Tensor:
            """(N, ...) of inputs (N, ...), by the part that the selection is in."""
            return self.part(selection)(inputs, selection)  # type: ignore[no-any-return]

    return Split()
