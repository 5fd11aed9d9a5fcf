"""resize: a feature map at another height and width, bilinear between pixel centres (ONNX's half_pixel, torch's
align_corners=False), or with attribute `mode` "nearest" the pixel at floor(i size / result), whose code it keeps.

Shrinking takes no mean of the pixels between, as neither of them does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer, elements
from hwnas.ops.numeric.interpolate import bilinear, factor, nearest
from hwnas.ops.numeric.scales import Scale, dequantise, quantise
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded, is_integer

if TYPE_CHECKING:
    import torch


def is_nearest(layer: Layer) -> bool:
    """Whether pixels are picked, not mixed."""
    return bool(layer.optional("mode", "linear") == "nearest")


@final
class Resize(Primitive):
    """No parameters: (C, H, W) -> (C, h, w)."""

    def macs(self, layer: Layer) -> int:
        return 0 if is_nearest(layer) else 4 * elements(layer.out_shape)

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        size = layer.out_shape[1:]
        if is_nearest(layer):
            return F.interpolate(inputs[0], size)
        return coded(layer, F.interpolate(inputs[0], size, mode="bilinear", align_corners=False))

    def output_code(self, layer: Layer, inputs: Sequence[Scale | None], low: float, high: float) -> Scale:
        if not is_nearest(layer):
            return super().output_code(layer, inputs, low, high)
        source = inputs[0]
        assert source is not None, "an integer layer's input has a code"
        return source

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        return (nearest if is_nearest(layer) else bilinear)(inputs[0], layer.out_shape[1:])

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        if is_nearest(layer):
            return nearest(inputs[0], layer.out_shape[1:])
        return quantise(bilinear(dequantise(inputs[0], codes.source), layer.out_shape[1:]), codes.target)

    def lower(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        if is_nearest(layer) and is_integer(layer):  # codes move as they are
            return self._write(layer, name, inputs[0], graph, name)
        return super().lower(layer, name, inputs, tensors, codes, graph)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return self._write(layer, name, inputs[0], graph, f"{name}.resize")

    def _write(self, layer: Layer, name: str, source: str, graph: Graph, output: str) -> str:
        # Factors of all four axes: what ONNX Runtime does with those of two (attribute axes), or with sizes that would
        # settle the batch, fails once it turns the layout of an integer net around.
        ratios = [factor(a, b) for a, b in zip(layer.in_shape[1:], layer.out_shape[1:], strict=True)]
        scales = graph.constant(f"{name}.scales", np.array([1, 1, *ratios], np.float32))
        how = (
            {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            if is_nearest(layer)
            else {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        )
        return graph.node("Resize", [source, "", scales], output, **how)


primitive = Resize()
