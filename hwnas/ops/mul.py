"""mul: a tensor (C, H, W) times a gate (C, 1, 1): the last step of squeeze-and-excite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.scales import saturate
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded

if TYPE_CHECKING:
    import torch


@final
class Mul(Primitive):
    """Inputs: the tensor, the gate."""

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        y = inputs[0] * inputs[1]
        return coded(layer, y)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        result: np.ndarray = inputs[0] * inputs[1]
        return result

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        # QLinearMul: the zero point is added before the rounding, so its parity decides ties.
        a, b = (x.astype(np.int32) - codes.input(i).zero_point for i, x in enumerate(inputs))
        ratio = (codes.input(0).value * codes.input(1).value) / codes.target.value
        return saturate(np.rint((a * b).astype(np.float32) * ratio + np.float32(codes.target.zero_point)))

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return graph.node("Mul", inputs, f"{name}.mul")


primitive = Mul()
