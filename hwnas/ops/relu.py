"""relu: max(x, 0) where no convolution stands before it to take it in (cells that normalise last)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.kernels.functions import relu
from hwnas.network import Layer
from hwnas.ops.numeric.scales import Scale, table
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded

if TYPE_CHECKING:
    import torch


@final
class Relu(Primitive):
    """No parameters."""

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        return coded(layer, inputs[0].relu())

    def output_range(self, layer: Layer) -> tuple[float, float]:
        return (0.0, 4.0)

    def output_code(self, layer: Layer, inputs: Sequence[Scale | None], low: float, high: float) -> Scale:
        return super().output_code(layer, inputs, 0.0, high)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        return relu(inputs[0])

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        result: np.ndarray = table(relu, codes.source, codes.target)[inputs[0]]
        return result

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return graph.node("Relu", inputs, f"{name}.relu")


primitive = Relu()
