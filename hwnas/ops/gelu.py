"""gelu: x times the share of a normal distribution below x (the erf form)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import erfc, sqrt
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer
from hwnas.ops.numeric.scales import table
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive, coded

if TYPE_CHECKING:
    import torch

_ERFC = np.vectorize(erfc, otypes=[np.float64])


def gelu(x: np.ndarray) -> np.ndarray:
    """x erfc(-x / sqrt 2) / 2, in float64, rounded to float32."""
    result: np.ndarray = (0.5 * x * _ERFC(-x / sqrt(2))).astype(np.float32)
    return result


@final
class Gelu(Primitive):
    """No parameters; a table of 256 codes in integers."""

    is_approximate = True

    def output_range(self, layer: Layer) -> tuple[float, float]:
        return (-0.17, 4.0)

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        return coded(layer, F.gelu(inputs[0]))

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        return gelu(inputs[0])

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        result: np.ndarray = table(gelu, codes.source, codes.target)[inputs[0]]
        return result

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        return graph.node("Gelu", inputs, f"{name}.gelu")


primitive = Gelu()
