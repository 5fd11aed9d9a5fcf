"""preprocess: uint8 pixels (H, W, C) to the normalised float32 image (C, h, w) that the network was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer, Shape
from hwnas.ops.numeric import resample
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive

if TYPE_CHECKING:
    import torch


def resizes(layer: Layer) -> bool:
    """Whether height or width change."""
    return tuple(layer.in_shape[:2]) != tuple(layer.out_shape[1:])


@final
class Preprocess(Primitive):
    """Constants mean, std (C,) of the training pixels. Folded: mean, factor = 1 / std, and the taps of both axes."""

    reads_pixels = True

    def constants(self, layer: Layer) -> dict[str, Shape]:
        return {"mean": (layer.in_shape[2],), "std": (layer.in_shape[2],)}

    def macs(self, layer: Layer) -> int:
        return resample.resizing_macs(layer.in_shape, layer.out_shape)

    def weight_bytes(self, layer: Layer) -> int:
        return sum(array.nbytes for array in self.random(layer, np.random.default_rng(0)).values())

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        """Training sees images that are normalised already, (N, C, H, W): what is left is to resize them."""
        import torch.nn.functional as F

        size = layer.out_shape[1:]
        if tuple(inputs[0].shape[2:]) == tuple(size):
            return inputs[0]
        return F.interpolate(inputs[0], size, mode="bilinear", antialias=True, align_corners=False)

    def fold(self, layer: Layer, params: Arrays) -> dict[str, np.ndarray]:
        folded = {"mean": params["mean"], "factor": (np.float32(1) / params["std"]).astype(np.float32)}
        if resizes(layer):
            for axis, size, result in zip(("rows", "columns"), layer.in_shape, layer.out_shape[1:], strict=False):
                taps = resample.taps(size, result)
                folded |= {f"{axis}_first": taps.first, f"{axis}_weights": taps.weights}
        return folded

    def random(self, layer: Layer, rng: np.random.Generator) -> dict[str, np.ndarray]:
        channels = layer.in_shape[2]
        mean = rng.uniform(100, 150, channels).astype(np.float32)
        return self.fold(layer, {"mean": mean, "std": rng.uniform(40, 80, channels).astype(np.float32)})

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        """The same bits as ONNX Runtime and our kernel: see `numeric/resample.py`."""
        height, width, _ = layer.in_shape
        pixels = inputs[0]
        if resizes(layer):
            rows, columns = (
                resample.Taps(tensors[f"{axis}_first"], tensors[f"{axis}_weights"], size)
                for axis, size in (("rows", height), ("columns", width))
            )
            pixels = resample.resample(pixels, rows, columns)
        normalised = (pixels.astype(np.float32) - tensors["mean"]) * tensors["factor"]
        return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        ends = [graph.constant(f"{name}.{key}", tensors[key]) for key in ("mean", "factor")]
        if not resizes(layer):
            return graph.node("Normalize", [*inputs, *ends], f"{name}.pixels", domain="hwnas")
        keys = ("rows_first", "rows_weights", "columns_first", "columns_weights")
        given = [*inputs, *(graph.constant(f"{name}.{key}", tensors[key]) for key in keys), *ends]
        height, width, _ = layer.in_shape
        return graph.node("Preprocess", given, f"{name}.pixels", domain="hwnas", height=height, width=width)


primitive = Preprocess()
