"""embedding: rows of a table by token, (T,) whole numbers to (T, D), plus a learnt row for each place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer, Shape
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive

if TYPE_CHECKING:
    import torch


@final
class Embedding(Primitive):
    """Weight (V, D) of V = attribute `vocabulary` tokens, position (T, D). A float layer: its table is read, never
    multiplied."""

    def below(self, layer: Layer) -> int:
        return int(layer["vocabulary"])

    def parameters(self, layer: Layer) -> dict[str, Shape]:
        length, width = layer.out_shape
        return {"weight": (self.below(layer), width), "position": (length, width)}

    def initial(self, layer: Layer, name: str, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        import torch

        return torch.randn(shape, generator=generator) * (1.0 if name == "weight" else 0.1)

    def weight_bytes(self, layer: Layer) -> int:
        return 4 * sum(shape[0] * shape[1] for shape in self.parameters(layer).values())

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        return F.embedding(inputs[0].long(), params["weight"]) + params["position"]

    def fold(self, layer: Layer, params: Arrays) -> dict[str, np.ndarray]:
        return {name: params[name].astype(np.float32) for name in ("weight", "position")}

    def random(self, layer: Layer, rng: np.random.Generator) -> dict[str, np.ndarray]:
        shapes = self.parameters(layer)
        return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        rows: np.ndarray = tensors["weight"][inputs[0].astype(np.int64)]
        return rows + tensors["position"]

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        table, position = (graph.constant(f"{name}.{key}", tensors[key]) for key in ("weight", "position"))
        rows = graph.node("Gather", [table, inputs[0]], f"{name}.rows", axis=0)
        return graph.node("Add", [rows, position], f"{name}.add")


primitive = Embedding()
