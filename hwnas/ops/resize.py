"""resize: an image (C, H, W) at another size, to nearest pixels or bilinearly (half-pixel centres)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.scales import Scale
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, is_integer

if TYPE_CHECKING:
    import torch


def _neighbours(size: int, result: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lower, upper, weight of the upper) of every position of the result along one axis, bilinearly."""
    ratio = np.float32(size) / np.float32(result)
    where = np.clip((np.arange(result, dtype=np.float32) + np.float32(0.5)) * ratio - np.float32(0.5), 0, size - 1)
    low = np.floor(where).astype(np.int64)
    return low, np.minimum(low + 1, size - 1), (where - low).astype(np.float32)


@final
class Resize(Primitive):
    """No parameters. Attribute `mode`: "nearest" (the pixel at floor(i size / result), codes move as they are) or
    "linear", a float layer."""

    def output_code(self, layer: Layer, inputs: Sequence[Scale | None], low: float, high: float) -> Scale:
        source = inputs[0]
        assert source is not None, "an integer layer's input has a code"
        return source

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        if layer["mode"] == "nearest":
            return F.interpolate(inputs[0], layer.out_shape[1:])
        return F.interpolate(inputs[0], layer.out_shape[1:], mode="bilinear", align_corners=False)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        x = inputs[0]
        sizes = tuple(zip(layer.in_shape[1:], layer.out_shape[1:], strict=True))
        if layer["mode"] == "nearest":
            rows, columns = (np.arange(result) * size // result for size, result in sizes)
            return x[:, :, rows][:, :, :, columns]
        (top, bottom, down), (left, right, across) = (_neighbours(size, result) for size, result in sizes)
        high = x[:, :, top] * (1 - down)[:, None] + x[:, :, bottom] * down[:, None]
        result: np.ndarray = high[..., left] * (1 - across) + high[..., right] * across
        return result

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        assert layer["mode"] == "nearest", "bilinear resizing is a float layer"
        return self.reference(layer, inputs, tensors)

    def lower(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return self.emit(layer, name, inputs, tensors, codes, graph)  # codes move as they are

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        last = name if is_integer(layer) else f"{name}.resized"
        sizes = graph.constant(f"{name}.sizes", np.array(layer.out_shape[1:], np.int64))
        modes = (
            {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            if layer["mode"] == "nearest"
            else {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        )
        return graph.node("Resize", [inputs[0], "", "", sizes], last, axes=[2, 3], **modes)


primitive = Resize()
