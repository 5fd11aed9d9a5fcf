"""padding: what is added to attention's scores of each token, 0 of a word and -1e4 of padding (token 0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive

if TYPE_CHECKING:
    import torch

PAD = 0  # the token that fills a text up
MASKED = np.float32(
    -1e4
)  # exp of it is 0 in float32, also after attention's 1 / sqrt(D), D to 10^4; a sum stays finite


@final
class Padding(Primitive):
    """(T,) tokens below attribute `vocabulary` to as many numbers in the output's shape, (1, 1, T) beside scores
    (H, T, T). No parameters, but a table by token: looking up is what every engine has for tokens. A float layer."""

    def below(self, layer: Layer) -> int:
        return int(layer["vocabulary"])

    def weight_bytes(self, layer: Layer) -> int:
        return 4 * self.below(layer)

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        return (inputs[0] == PAD).float().mul(float(MASKED)).reshape(-1, *layer.out_shape)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        return np.where(inputs[0] == PAD, MASKED, np.float32(0)).reshape(-1, *layer.out_shape)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        table = np.zeros(self.below(layer), np.float32)
        table[PAD] = MASKED
        found = graph.node("Gather", [graph.constant(f"{name}.table", table), inputs[0]], f"{name}.found", axis=0)
        sizes = graph.constant(f"{name}.sizes", np.array([-1, *layer.out_shape], np.int64))
        return graph.node("Reshape", [found, sizes], f"{name}.added")


primitive = Padding()
