"""reshape: the same numbers in the same order in another shape."""

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
class Reshape(Primitive):
    """No parameters; the output keeps the input's code."""

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        return inputs[0].reshape(-1, *layer.out_shape)

    def output_code(self, layer: Layer, inputs: Sequence[Scale | None], low: float, high: float) -> Scale:
        source = inputs[0]
        assert source is not None, "an integer layer's input has a code"
        return source

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        return inputs[0].reshape(-1, *layer.out_shape)

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        return self.reference(layer, inputs, tensors)

    def lower(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return self.emit(layer, name, inputs, tensors, codes, graph)  # codes move as they are

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        sizes = graph.constant(f"{name}.sizes", np.array([-1, *layer.out_shape], np.int64))
        return graph.node("Reshape", [inputs[0], sizes], name if is_integer(layer) else f"{name}.moved")


primitive = Reshape()
