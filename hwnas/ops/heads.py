"""heads: (T, H * D) to (H, T, D) and back: attention's heads apart, and side by side again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.scales import Scale
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, is_integer

if TYPE_CHECKING:
    import torch


@final
class Heads(Primitive):
    """No parameters; numbers move, so the output keeps the input's code. Three axes out split, two merge."""

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        x = inputs[0]
        if len(layer.out_shape) == 3:
            heads, length, width = layer.out_shape
            return x.reshape(-1, length, heads, width).transpose(1, 2)
        return x.transpose(1, 2).reshape(-1, *layer.out_shape)

    def output_code(self, layer: Layer, inputs: Sequence[Scale | None], low: float, high: float) -> Scale:
        source = inputs[0]
        assert source is not None, "an integer layer's input has a code"
        return source

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        x = inputs[0]
        if len(layer.out_shape) == 3:
            heads, length, width = layer.out_shape
            return x.reshape(-1, length, heads, width).swapaxes(1, 2)
        return x.swapaxes(1, 2).reshape(-1, *layer.out_shape)

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        return self.reference(layer, inputs, tensors)

    def lower(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return self.emit(layer, name, inputs, tensors, codes, graph)  # codes move as they are

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        last = name if is_integer(layer) else f"{name}.moved"
        source, splits = inputs[0], len(layer.out_shape) == 3
        shape = [-1, layer.out_shape[1], layer.out_shape[0], layer.out_shape[2]] if splits else [-1, *layer.out_shape]
        sizes = graph.constant(f"{name}.sizes", np.array(shape, np.int64))
        if splits:
            apart = graph.node("Reshape", [source, sizes], f"{name}.apart")
            return graph.node("Transpose", [apart], last, perm=[0, 2, 1, 3])
        turned = graph.node("Transpose", [source], f"{name}.turned", perm=[0, 2, 1, 3])
        return graph.node("Reshape", [turned, sizes], last)


primitive = Heads()
