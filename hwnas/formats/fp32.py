"""fp32: IEEE single precision, stored as it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.formats import Arrays, Format, Parameter
from hwnas.network import Layer, Shape, elements

if TYPE_CHECKING:
    import torch


@final
class Float32:
    """The tensor itself."""

    def parameters(self, layer: Layer) -> dict[str, Parameter]:
        return {}

    def train(self, x: torch.Tensor, params: Mapping[str, torch.Tensor], progress: float = 1.0) -> torch.Tensor:
        return x

    def encode(self, x: np.ndarray, params: Arrays, most_bits: int = 8) -> dict[str, np.ndarray]:
        return {"weight": x}

    def decode(self, arrays: Arrays, shape: Shape) -> np.ndarray:
        return arrays["weight"]

    def stored_bytes(self, shape: Shape) -> int:
        return 4 * elements(shape)


format = Format(
    Float32(), None, arithmetic="float", family="real", exchange="float32", bits=32, ends=("fp32",), suffix="fp32"
)
