"""int8: symmetric int8 weights a channel, affine uint8 activations a tensor, ONNX Runtime's integer arithmetic.

weight      w ~ s_o * q,        q in [-127, 127],  s_o = max |w_o| / 127
activation  x ~ s * (q - z),    q in [0, 255],     s, z of the range that calibration saw, which holds zero exactly
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.formats import Arrays, Format, Parameter
from hwnas.network import Layer, Shape, elements
from hwnas.ops.numeric.scales import Scale, dequantise, quantise, weight_scales

if TYPE_CHECKING:
    import torch


@final
@dataclass(frozen=True)
class Symmetric:
    """Weights (O, ...) as int8 codes of `bits` bits about zero, one scale an output channel."""

    bits: int = 8

    def parameters(self, layer: Layer) -> dict[str, Parameter]:
        return {}

    def train(self, x: torch.Tensor, params: Mapping[str, torch.Tensor], progress: float = 1.0) -> torch.Tensor:
        from hwnas.ops.numeric.fake_quantise import fake_quantise_weight

        return fake_quantise_weight(x, self.bits)

    def encode(self, x: np.ndarray, params: Arrays, most_bits: int = 8) -> dict[str, np.ndarray]:
        bits = min(self.bits, most_bits)
        scales, limit = weight_scales(x, bits), 2 ** (bits - 1) - 1
        codes = np.clip(np.rint(x / _across(scales, x.ndim)), -limit, limit)
        return {"weight": codes.astype(np.int8), "weight_scale": scales}

    def decode(self, arrays: Arrays, shape: Shape) -> np.ndarray:
        codes = arrays["weight"].astype(np.float32)
        result: np.ndarray = codes * _across(arrays["weight_scale"], codes.ndim)
        return result

    def stored_bytes(self, shape: Shape) -> int:
        return elements(shape) + 4 * shape[0]


@final
class Affine:
    """Activations as uint8 codes of one scale and zero point a tensor; training takes the batch's own range."""

    def parameters(self, layer: Layer) -> dict[str, Parameter]:
        return {}

    def observe(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return Scale.of_range(float(x.min()), float(x.max())).arrays

    def train(self, x: torch.Tensor, params: Mapping[str, torch.Tensor], progress: float = 1.0) -> torch.Tensor:
        from hwnas.ops.numeric.fake_quantise import fake_quantise

        return fake_quantise(x)

    def encode(self, x: np.ndarray, params: Arrays) -> dict[str, np.ndarray]:
        scale = Scale.of_arrays(params)
        return {"codes": quantise(x, scale), **scale.arrays}

    def decode(self, arrays: Arrays, shape: Shape) -> np.ndarray:
        return dequantise(arrays["codes"], Scale.of_arrays(arrays))


def _across(scales: np.ndarray, rank: int) -> np.ndarray:
    """(O,) shaped to multiply a tensor (O, ...) of this rank."""
    return scales.reshape(-1, *[1] * (rank - 1))


format = Format(
    Symmetric(), Affine(), arithmetic="integer", family="real", exchange="uint8", bits=8, ends=("int8",), suffix="int8"
)
