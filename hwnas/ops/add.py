"""add: the sum of two tensors of one shape, optionally relu: the residual connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.scales import saturate
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded, relu

if TYPE_CHECKING:
    import torch


@final
class Add(Primitive):
    """Two inputs."""

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        y: torch.Tensor = relu(layer, inputs[0] + inputs[1])
        return coded(layer, y)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        result: np.ndarray = relu(layer, inputs[0] + inputs[1])
        return result

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        return add_codes(inputs[0], inputs[1], codes)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return graph.relu(layer, graph.node("Add", inputs, f"{name}.add"), name, codes)


def add_codes(a: np.ndarray, b: np.ndarray, codes: Codes) -> np.ndarray:
    """QLinearAdd: fma(a, s_a / s_y, fma(b, s_b / s_y, offset)), offset = z_y - fma(z_a, s_a / s_y, s_b / s_y * z_b).

    ONNX Runtime's fused multiply-adds (its compiler fuses the offset's, too) are had from float64, where the product
    of 8 by 24 bits and one more sum are exact.
    """
    ratio_a = np.float64(codes.input(0).value / codes.target.value)
    ratio_b = np.float64(codes.input(1).value / codes.target.value)
    zero_a, zero_b = codes.input(0).zero_point, codes.input(1).zero_point
    offset = np.float32(codes.target.zero_point) - np.float32(ratio_a * zero_a + np.float32(ratio_b * zero_b))
    inner = (b.astype(np.float64) * ratio_b + np.float64(offset)).astype(np.float32)
    return saturate(np.rint((a.astype(np.float64) * ratio_a + inner).astype(np.float32)))


primitive = Add()
