"""resize: a feature map at another height and width, bilinear between pixel centres (ONNX's half_pixel, torch's
align_corners=False); shrinking takes no mean, as neither of them does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer, elements
from hwnas.ops.numeric.interpolate import bilinear, factor
from hwnas.ops.numeric.scales import dequantise, quantise
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded

if TYPE_CHECKING:
    import torch


@final
class Resize(Primitive):
    """No parameters: (C, H, W) -> (C, h, w)."""

    def macs(self, layer: Layer) -> int:
        return 4 * elements(layer.out_shape)

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        return coded(layer, F.interpolate(inputs[0], layer.out_shape[1:], mode="bilinear", align_corners=False))

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        return bilinear(inputs[0], layer.out_shape[1:])

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        return quantise(bilinear(dequantise(inputs[0], codes.source), layer.out_shape[1:]), codes.target)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        # Factors of all four axes: what ONNX Runtime does with sizes of two (attribute axes), or with sizes that would
        # settle the batch, fails once it turns the layout of an integer net around.
        ratios = [factor(a, b) for a, b in zip(layer.in_shape[1:], layer.out_shape[1:], strict=True)]
        scales = graph.constant(f"{name}.scales", np.array([1, 1, *ratios], np.float32))
        return graph.node(
            "Resize", [inputs[0], "", scales], f"{name}.resize", mode="linear",
            coordinate_transformation_mode="half_pixel",
        )  # fmt: skip


primitive = Resize()
