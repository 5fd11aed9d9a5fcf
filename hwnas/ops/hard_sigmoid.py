"""hard_sigmoid: clamp(x / 6 + 1/2, 0, 1): the gate of squeeze-and-excite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.scales import table
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded

if TYPE_CHECKING:
    import torch

ALPHA = np.float32(1.0 / 6.0)


def hard_sigmoid(x: np.ndarray) -> np.ndarray:
    """float32, multiply then add."""
    result: np.ndarray = np.clip(x * ALPHA + np.float32(0.5), np.float32(0), np.float32(1))
    return result


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
        return hard_sigmoid(inputs[0])

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        result: np.ndarray = table(hard_sigmoid, codes.source, codes.target)[inputs[0]]
        return result

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return graph.node("HardSigmoid", inputs, f"{name}.gate", alpha=float(ALPHA), beta=0.5)


primitive = HardSigmoid()
