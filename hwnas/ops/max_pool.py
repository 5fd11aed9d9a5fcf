"""max_pool: the largest value of every k x k window, unpadded. int8: the codes' order is the values' order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.convolve import windows
from hwnas.ops.numeric.scales import Scale
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive

if TYPE_CHECKING:
    import torch


@final
class MaxPool(Primitive):
    """No parameters; the output keeps the input's code."""

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        return F.max_pool2d(inputs[0], layer.kernel, layer.stride)

    def output_code(self, layer: Layer, inputs: Sequence[Scale | None], low: float, high: float) -> Scale:
        source = inputs[0]
        assert source is not None, "an int8 layer's input has a code"
        return source

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        result: np.ndarray = windows(inputs[0], layer.kernel, layer.stride, 0).max(axis=(4, 5))
        return result

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        return self.reference(layer, inputs, tensors)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        size = [layer.kernel, layer.kernel]
        return graph.node("MaxPool", inputs, f"{name}.pool", kernel_shape=size, strides=[layer.stride] * 2)


primitive = MaxPool()
