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
from hwnas.protocols import Data, Supernet
from hwnas.space import Mix, SearchSpace, Selection, Value

if TYPE_CHECKING:
    from torch import Tensor

TRAINED = {"space": "in another space", "data": "on other data"}


class FewShot:
    """`choice` is split; `start` is the `supernet.pt` of a run of the same space and data. HwnasError where the choice
    has one option or none of that name, or the file does not hold the space's weights, trained on these data."""

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        choice: str | None = None,
        start: str | None = None,
        data: Data | None = None,
    ) -> None:
        wide = [c.name for c in space.choices if c.role == "architecture" and len(c.options) > 1]
        if choice is not None and choice not in wide:
            raise unknown(f"choice of space {space.name!r} with several options", str(choice), wide)
        if not wide:
            raise HwnasError(f"space {space.name!r} has no choice to split")
        self.space, self.seed, self.choice, self.data = space, seed, choice or wide[0], data
        self.start = None if start is None else Path(start)

    def digest(self) -> str:
        """Of the weights it starts from: a supernet trained from others is another."""
        if self.start is None:
            return "its own"
        self._held(self.start)
        return digest_file(self.start)

    def __call__(self, net: Any, /) -> Supernet:
        return _split(net, self.space, self.choice, self.seed)

    def begin(self, net: Any, /) -> None:
        """Gives every part the one-shot weights that it can use, where there are any."""
        from hwnas.checkpoint import take_up
        from hwnas.supernet import WeightSharing

        if self.start is not None:
            whole = WeightSharing(self.space, self.seed)
            take_up(whole, self._held(self.start), self.start)
            net.take(whole)

    def _held(self, start: Path) -> Any:
        """The file's state; HwnasError where it says that it is of another space or of other data."""
        from hwnas.checkpoint import load_state
        from hwnas.fidelity import space_digest

        state = load_state(start)
        own = {"space": space_digest(self.space), "data": None if self.data is None else self.data.digest}
        for what, wanted in own.items():
            said = state.get(what) if isinstance(state, dict) else None  # files of earlier versions do not say
            if said is not None and wanted is not None and said != wanted:
                raise HwnasError(
                    f"train.wrapper: start {start} was trained {TRAINED[what]} than this run's",
                    hint="start from the supernet.pt of a run with the same `space` and `data`",
                )
        return state


def _split(whole: Any, space: SearchSpace, choice: str, seed: int) -> Supernet:
    """A part for every option, each with the weights of the whole one that it can use."""
    import torch
    from torch import nn

    from hwnas.supernet import WeightSharing

    options = space.by_name[choice].options

    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.space = space
            parts = [WeightSharing(space.restrict({choice: [option]}), seed, whole.slicing) for option in options]
            self.parts = nn.ModuleList(parts)
            self.take(whole)

        def take(self, whole: Any) -> None:
            """Every part's weights, as parts of the whole supernet's."""
            shared: Mapping[str, Tensor] = dict(whole.named_parameters())
            with torch.no_grad():
                for part in self.parts:
                    for name, parameter in part.named_parameters():
                        parameter.copy_(whole.slicing(shared[name], tuple(parameter.shape)))

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
