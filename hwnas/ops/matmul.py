"""matmul: the product of two activations (.., M, K) and (.., K, N), or (.., N, K) transposed: attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer, elements
from hwnas.ops.numeric.scales import requantise
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded, is_integer

if TYPE_CHECKING:
    import torch


def transposed(layer: Layer) -> bool:
    """Whether the second input is (.., N, K): attribute `transpose`."""
    return bool(layer.optional("transpose", False))


@final
class MatMul(Primitive):
    """No parameters; both inputs are of one rank."""

    is_approximate = True

    def macs(self, layer: Layer) -> int:
        return elements(layer.out_shape) * layer.in_shape[-1]

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        a, b = inputs
        return coded(layer, a @ (b.transpose(-1, -2) if transposed(layer) else b))

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        a, b = inputs
        result: np.ndarray = a @ (b.swapaxes(-1, -2) if transposed(layer) else b)
        return result

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        # QLinearMatMul: exact sums, then one float32 product of the scales' quotient.
        a, b = (x.astype(np.int64) - codes.input(i).zero_point for i, x in enumerate(inputs))
        ratio = (codes.input(0).value * codes.input(1).value) / codes.target.value
        return requantise(a @ (b.swapaxes(-1, -2) if transposed(layer) else b), ratio, codes.target.zero_point)

    def lower(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        if transposed(layer) and is_integer(layer):
            # On the codes: between DequantizeLinear and MatMul it would hide the pair from fusion.
            inputs = [inputs[0], self._turned(layer, inputs[1], name, graph)]
        return super().lower(layer, name, inputs, tensors, codes, graph)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        turn = transposed(layer) and not is_integer(layer)
        operands = [inputs[0], self._turned(layer, inputs[1], name, graph) if turn else inputs[1]]
        return graph.node("MatMul", operands, f"{name}.product")

    def _turned(self, layer: Layer, source: str, name: str, graph: Graph) -> str:
        rank = len(layer.in_shape) + 1  # the batch
        return graph.node("Transpose", [source], f"{name}.turned", perm=[*range(rank - 2), rank - 1, rank - 2])


primitive = MatMul()
