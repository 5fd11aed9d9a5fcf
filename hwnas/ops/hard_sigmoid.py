"""hard_sigmoid: clamp(x / 6 + 1/2, 0, 1): the gate of squeeze-and-excite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.kernels.functions import SIXTH, hard_gate
from hwnas.network import Layer
from hwnas.ops.numeric.scales import table
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded

if TYPE_CHECKING:
    import torch


@final
class HardSigmoid(Primitive):
    """No parameters."""

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        y = F.hardsigmoid(inputs[0])
        return coded(layer, y)

    def output_range(self, layer: Layer) -> tuple[float, float]:
        return (0.0, 1.0)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        return hard_gate(inputs[0])

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        result: np.ndarray = table(hard_gate, codes.source, codes.target)[inputs[0]]
        return result

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return graph.node("HardSigmoid", inputs, f"{name}.gate", alpha=float(np.float32(SIXTH)), beta=0.5)


primitive = HardSigmoid()
