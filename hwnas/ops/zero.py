"""zero: a tensor of zeros of its input's shape: the edge that a cell leaves out, where something must still stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive

if TYPE_CHECKING:
    import torch


@final
class Zero(Primitive):
    """No parameters."""

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        return inputs[0] * 0.0

    def output_range(self, layer: Layer) -> tuple[float, float]:
        return (0.0, 0.0)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        return np.zeros_like(inputs[0])

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        return np.full_like(inputs[0], codes.target.zero_point)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return graph.node("Mul", [inputs[0], graph.constant("zero", np.zeros((), np.float32))], f"{name}.zero")


primitive = Zero()
