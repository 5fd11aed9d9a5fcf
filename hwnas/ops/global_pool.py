"""global_pool: the mean of every channel, (C, H, W) -> (C, 1, 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.scales import requantise
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded

if TYPE_CHECKING:
    import torch


@final
class GlobalPool(Primitive):
    """No parameters."""

    is_approximate = True

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        y = inputs[0].mean(dim=(2, 3), keepdim=True)
        return coded(layer, y)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        result: np.ndarray = inputs[0].mean(axis=(2, 3), keepdims=True, dtype=np.float32)
        return result

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        area = layer.in_shape[1] * layer.in_shape[2]
        total = inputs[0].sum(axis=(2, 3), keepdims=True, dtype=np.int32) - area * codes.source.zero_point
        factor = codes.source.value / (codes.target.value * np.float32(area))
        return requantise(total, factor, codes.target.zero_point)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return graph.node("GlobalAveragePool", inputs, f"{name}.pool")


primitive = GlobalPool()
