"""hswish: x * clamp(x / 6 + 1/2, 0, 1), MobileNetV3's activation (arXiv:1905.02244)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.kernels.functions import hard_swish
from hwnas.network import Layer
from hwnas.ops.numeric.scales import table
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded

if TYPE_CHECKING:
    import torch


@final
class HardSwish(Primitive):
    """No parameters."""

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        y = F.hardswish(inputs[0])
        return coded(layer, y)

    def output_range(self, layer: Layer) -> tuple[float, float]:
        return (-0.375, 4.0)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        return hard_swish(inputs[0])

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        result: np.ndarray = table(hard_swish, codes.source, codes.target)[inputs[0]]
        return result

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return graph.node("HardSwish", inputs, f"{name}.hswish")


primitive = HardSwish()
