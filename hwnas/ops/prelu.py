"""prelu: x where x >= 0, slope x elsewhere, one trained slope a channel (fp32 streams only)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer, Shape
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive

if TYPE_CHECKING:
    import torch

START = 0.25  # He et al. 2015, section 2.1


@final
class PRelu(Primitive):
    """Slope (C,)."""

    def parameters(self, layer: Layer) -> dict[str, Shape]:
        return {"slope": (layer.in_shape[0],)}

    def initial(self, layer: Layer, name: str, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        import torch

        return torch.full(shape, START)

    def weight_bytes(self, layer: Layer) -> int:
        return 4 * layer.in_shape[0]

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        return F.prelu(inputs[0], params["slope"])

    def fold(self, layer: Layer, params: Arrays) -> dict[str, np.ndarray]:
        return {"slope": params["slope"].astype(np.float32)}

    def random(self, layer: Layer, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"slope": rng.uniform(0.0, 0.5, layer.in_shape[0]).astype(np.float32)}

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        x = inputs[0]
        return np.where(x >= 0, x, x * tensors["slope"][:, None, None])

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        slope = graph.constant(f"{name}.slope", tensors["slope"][:, None, None])
        return graph.node("PRelu", [inputs[0], slope], f"{name}.prelu")


primitive = PRelu()
