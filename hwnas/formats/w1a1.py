"""w1a1: signs of weights times signs of activations, counted bit by bit (XNOR networks).

activation  b(x) = +1 where x >= t, else -1, t trained a channel (ReActNet's RSign, arXiv:2003.03488)
weight      b(w) = +1 where w >= 0, else -1, stored at one bit
Surrogate gradients: hwnas/ops/numeric/binarise.py. Scale and shift of a convolution are its batch norm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.formats import Arrays, Format, Parameter
from hwnas.network import Layer, Shape
from hwnas.ops.numeric.bits import pack_signs, unpack_signs

if TYPE_CHECKING:
    import torch

# Where thresholds start. At 0 the signs of a relu's output (an int8 or fp32 neighbour's) would all be +1, a constant
# that batch norm then blows up; a quarter of a standard deviation splits those and symmetric inputs about 2 : 3.
START = 0.25


@final
class SignWeight:
    """Latent real weights (O, C, k, k) as bits along C, eight a byte."""

    def parameters(self, layer: Layer) -> dict[str, Parameter]:
        return {}

    def train(self, x: torch.Tensor, params: Mapping[str, torch.Tensor], progress: float = 1.0) -> torch.Tensor:
        from hwnas.ops.numeric.binarise import sign_weight

        return sign_weight(x)

    def encode(self, x: np.ndarray, params: Arrays, most_bits: int = 8) -> dict[str, np.ndarray]:
        return {"weight": pack_signs(x)}

    def decode(self, arrays: Arrays, shape: Shape) -> np.ndarray:
        return unpack_signs(arrays["weight"], shape[1]).astype(np.float32)

    def stored_bytes(self, shape: Shape) -> int:
        outputs, channels, height, width = shape
        return outputs * height * width * -(-channels // 8)


@final
class SignActivation:
    """What a 1-bit convolution reads, (N, C, H, W), as signs about a trained threshold (C,)."""

    def parameters(self, layer: Layer) -> dict[str, Parameter]:
        return {"threshold": Parameter((layer.in_shape[0],), START)}

    def observe(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return {}

    def train(self, x: torch.Tensor, params: Mapping[str, torch.Tensor], progress: float = 1.0) -> torch.Tensor:
        from hwnas.ops.numeric.binarise import sign_activation

        return sign_activation(x, params["threshold"])

    def encode(self, x: np.ndarray, params: Arrays) -> dict[str, np.ndarray]:
        return {"signs": np.where(x >= params["threshold"][:, None, None], np.int8(1), np.int8(-1))}

    def decode(self, arrays: Arrays, shape: Shape) -> np.ndarray:
        return arrays["signs"].astype(np.float32)


format = Format(
    SignWeight(),
    SignActivation(),
    arithmetic="signs",
    family="binary",
    exchange="float32",
    bits=1,
    ends=("fp32", "int8"),  # no published binary network binarises its stem or its classifier
    suffix="binary",
)
