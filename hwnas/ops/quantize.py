"""quantize: float32 to uint8 codes, where an integer block begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, activation_codec, coded

if TYPE_CHECKING:
    import torch


@final
class Quantize(Primitive):
    """No parameters; the output's code comes from calibration."""

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        return coded(layer, inputs[0])

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        return inputs[0]

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        return activation_codec(layer).encode(inputs[0], codes.target.arrays)["codes"]

    def lower(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return graph.quantise(inputs[0], codes.target, name)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return inputs[0]


primitive = Quantize()
