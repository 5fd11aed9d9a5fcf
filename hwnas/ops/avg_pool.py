"""avg_pool: the mean of every k x k window; attribute `padding` (0 where it is not given) adds a border that no mean
counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.convolve import windows
from hwnas.ops.numeric.scales import dequantise, saturate
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded

if TYPE_CHECKING:
    import torch


@final
class AvgPool(Primitive):
    """No parameters."""

    is_approximate = True

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        border = layer.optional("padding", 0)
        y = F.avg_pool2d(inputs[0], layer.kernel, layer.stride, border, count_include_pad=False)
        return coded(layer, y)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        border = layer.optional("padding", 0)
        view = windows(inputs[0], layer.kernel, layer.stride, border)
        total = np.zeros(view.shape[:4], dtype=np.float32)
        for i in range(layer.kernel):  # row by row, as ONNX Runtime adds
            for j in range(layer.kernel):
                total += view[..., i, j]
        if not border:
            return total / np.float32(layer.kernel**2)
        inside = windows(np.ones((1, 1, *layer.in_shape[1:]), np.float32), layer.kernel, layer.stride, border)
        return total / inside.sum(axis=(4, 5), dtype=np.float32)

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        # QLinearAveragePool averages reals, and adds the zero point before it rounds: its parity decides ties.
        mean = self.reference(layer, [dequantise(inputs[0], codes.source)], tensors)
        return saturate(np.rint(mean / codes.target.value + np.float32(codes.target.zero_point)))

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        size = [layer.kernel, layer.kernel]
        border = layer.optional("padding", 0)
        pads: dict[str, Any] = {"pads": [border] * 4, "count_include_pad": 0} if border else {}
        return graph.node("AveragePool", inputs, f"{name}.pool", kernel_shape=size, strides=[layer.stride] * 2, **pads)


primitive = AvgPool()
