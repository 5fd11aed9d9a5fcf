"""softsign: x / (1 + |x|), an activation without exponentials (Bergstra et al., 2009)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.scales import table
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded

if TYPE_CHECKING:
    import torch


def softsign(x: np.ndarray) -> np.ndarray:
    """In the order of ONNX's definition, float32."""
    return np.asarray(x / (np.float32(1.0) + np.abs(x)), np.float32)


@final
class Softsign(Primitive):
    """No parameters. In integers it is a table of 256 codes."""

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        return coded(layer, F.softsign(inputs[0]))

    def output_range(self, layer: Layer) -> tuple[float, float]:
        return (-1.0, 1.0)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        return softsign(inputs[0])

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        result: np.ndarray = table(softsign, codes.source, codes.target)[inputs[0]]
        return result

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return graph.node("Softsign", inputs, f"{name}.softsign")


primitive = Softsign()
