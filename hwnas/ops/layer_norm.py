"""layer_norm: (x - mean) / sqrt(variance + 1e-5) * gamma + beta over the last axis of (T, D)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer, Shape
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive

if TYPE_CHECKING:
    import torch

EPSILON = 1e-5  # torch's and ONNX's default


@final
class LayerNorm(Primitive):
    """gamma (D,), beta (D,). A float layer: every engine sums a row in an order of its own."""

    is_approximate = True

    def parameters(self, layer: Layer) -> dict[str, Shape]:
        return {"gamma": (layer.in_shape[-1],), "beta": (layer.in_shape[-1],)}

    def initial(self, layer: Layer, name: str, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        import torch

        return torch.ones(shape) if name == "gamma" else torch.zeros(shape)

    def weight_bytes(self, layer: Layer) -> int:
        return 8 * layer.in_shape[-1]

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        return F.layer_norm(inputs[0], (layer.in_shape[-1],), params["gamma"], params["beta"], EPSILON)

    def fold(self, layer: Layer, params: Arrays) -> dict[str, np.ndarray]:
        return {name: params[name].astype(np.float32) for name in ("gamma", "beta")}

    def random(self, layer: Layer, rng: np.random.Generator) -> dict[str, np.ndarray]:
        gamma, beta = rng.standard_normal((2, layer.in_shape[-1]), dtype=np.float32) * np.float32(0.1)
        return {"gamma": gamma + np.float32(1), "beta": beta}

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        x = inputs[0].astype(np.float64)
        centred = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        result: np.ndarray = (centred / deviation * tensors["gamma"] + tensors["beta"]).astype(np.float32)
        return result

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        operands = [inputs[0], *(graph.constant(f"{name}.{key}", tensors[key]) for key in ("gamma", "beta"))]
        return graph.node("LayerNormalization", operands, f"{name}.norm", axis=-1, epsilon=EPSILON)


primitive = LayerNorm()
