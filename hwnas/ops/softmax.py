"""softmax: exp(s x) over its sum along the last axis, s a constant such as attention's 1 / sqrt(D)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.scales import Scale, saturate
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded

if TYPE_CHECKING:
    import torch

_FLOAT_MAX = np.finfo(np.float32).max


def factor(layer: Layer) -> np.float32:
    """s: attribute `scale`, 1 where it is left out."""
    return np.float32(layer.optional("scale", 1.0))


@final
class Softmax(Primitive):
    """No parameters. In integers s goes into the scale by which the input's codes are read."""

    is_approximate = True

    def output_range(self, layer: Layer) -> tuple[float, float]:
        return (0.0, 1.0)

    def output_code(self, layer: Layer, inputs: Sequence[Scale | None], low: float, high: float) -> Scale:
        return Scale(1 / 256, 0)  # whatever was seen: its range is known, and a power of two is exact

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        return coded(layer, (inputs[0] * float(factor(layer))).softmax(-1))

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        x = inputs[0] * factor(layer)
        powers = np.exp(x - x.max(axis=-1, keepdims=True))
        result: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
        return result

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        # QLinearSoftmax: float32 powers from a table of 256, added in order, times floor(1 / s_y) over their sum.
        x, scale = inputs[0], float(codes.source.value * factor(layer))
        length = np.float32(x.shape[-1])
        shift = max(0.0, float(np.log(np.float32(_FLOAT_MAX) / length)) - 5.0) / scale
        entries = np.exp((np.arange(256, dtype=np.float64) - 255 + shift) * scale).astype(np.float32)
        powers = entries[x.astype(np.int64) + 255 - x.max(axis=-1, keepdims=True).astype(np.int64)]
        total = np.add.accumulate(powers, axis=-1, dtype=np.float32)[..., -1:]
        share = (powers * np.floor(np.float32(1) / codes.target.value)).astype(np.float32) / total
        return saturate(np.rint(share) + np.float32(codes.target.zero_point))

    def lower(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        if codes.output is None:
            return self.emit(layer, name, inputs, tensors, codes, graph)
        read = graph.constant(f"{name}.in.scale", np.asarray(codes.source.value * factor(layer)))
        zero = graph.constant(f"{name}.in.zero_point", np.asarray(codes.source.zero_point, np.uint8))
        real = graph.node("DequantizeLinear", [inputs[0], read, zero], f"{name}.in0")
        return graph.quantise(graph.node("Softmax", [real], f"{name}.softmax", axis=-1), codes.target, name)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        source = inputs[0]
        if factor(layer) != 1:
            scale = graph.constant(f"{name}.scale", np.asarray(factor(layer)))
            source = graph.node("Mul", [source, scale], f"{name}.scaled")
        return graph.node("Softmax", [source], f"{name}.softmax", axis=-1)


primitive = Softmax()
