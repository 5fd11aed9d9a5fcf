"""binary_conv: convolution of signs with signs, then batch norm: xor, population count and one multiply-add.

The input's sign is taken about a trained threshold a channel (ReActNet's RSign, arXiv:2003.03488); spatial padding is
exact zero, neither +1 nor -1. The result is float32: `float(acc) * scale + bias`, rounded twice (nothing is fused).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.formats import training_progress
from hwnas.network import Layer, Shape, elements
from hwnas.ops.conv import convolution_macs, normalisation, weight_shape
from hwnas.ops.numeric.convolve import convolve_exact
from hwnas.ops.primitive import (
    Arrays,
    Codes,
    Graph,
    Primitive,
    activation_codec,
    codec_shapes,
    relu,
    start_of,
    weight_codec,
)

if TYPE_CHECKING:
    import torch


@final
class BinaryConv(Primitive):
    """Weight (O, C / groups, k, k), threshold (C,); gamma, beta, mean, var (O,).

    Folded: weight uint8 (O, k, k, ceil(C / groups / 8)), threshold (C,), scale (O,), bias (O,).
    """

    def parameters(self, layer: Layer) -> dict[str, Shape]:
        channels = (layer.out_shape[0],)
        return {"weight": weight_shape(layer), **codec_shapes(layer), "gamma": channels, "beta": channels}

    def buffers(self, layer: Layer) -> dict[str, Shape]:
        return {"mean": (layer.out_shape[0],), "var": (layer.out_shape[0],)}

    def initial(self, layer: Layer, name: str, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        import torch

        if name == "weight":
            # As a real convolution would start: well inside |w| <= 1, where gradients pass the sign.
            return torch.randn(shape, generator=generator) * (2.0 / elements(shape[1:])) ** 0.5
        return torch.full(shape, 1.0 if name in ("gamma", "var") else start_of(layer, name))

    def macs(self, layer: Layer) -> int:
        return convolution_macs(layer)

    def weight_bytes(self, layer: Layer) -> int:
        weights = weight_codec(layer).stored_bytes(weight_shape(layer))
        return weights + 4 * layer.in_shape[0] + 8 * layer.out_shape[0]

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        from hwnas.ops.numeric.normalise import batch_norm

        signs = activation_codec(layer).train(inputs[0], params, training_progress())
        weight = weight_codec(layer).train(params["weight"], params, training_progress())
        y = F.conv2d(signs, weight, None, layer.stride, layer.kernel // 2, 1, layer.groups)
        result: torch.Tensor = relu(layer, batch_norm(y, params, training))
        return result

    def fold(self, layer: Layer, params: Arrays) -> dict[str, np.ndarray]:
        scale, shift = normalisation(layer, params)
        threshold = params.get("threshold", np.zeros(layer.in_shape[0])).astype(np.float32)  # 0 where none is learnt
        weight = weight_codec(layer).encode(params["weight"], params)
        return {**weight, "threshold": threshold, "scale": scale, "bias": shift}

    def random(self, layer: Layer, rng: np.random.Generator) -> dict[str, np.ndarray]:
        shape = weight_shape(layer)
        spread = np.float32(elements(shape[1:]) ** -0.5)  # a sum of n signs has variance n
        return {
            **weight_codec(layer).encode(rng.standard_normal(shape, dtype=np.float32), {}),
            "threshold": rng.standard_normal(layer.in_shape[0], dtype=np.float32) * np.float32(0.2),
            "scale": spread * rng.uniform(0.5, 1.5, shape[0]).astype(np.float32),
            "bias": rng.standard_normal(shape[0], dtype=np.float32) * np.float32(0.1),
        }

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        signs = activation_codec(layer).encode(inputs[0], tensors)["signs"]
        weight = weight_codec(layer).decode(tensors, weight_shape(layer))
        accumulator = convolve_exact(signs, weight, layer.stride, layer.groups).astype(np.float32)
        y = accumulator * tensors["scale"][:, None, None] + tensors["bias"][:, None, None]
        result: np.ndarray = relu(layer, y)
        return result

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        pad = layer.kernel // 2
        constants = [graph.constant(f"{name}.{key}", tensors[key]) for key in ("threshold", "weight", "scale", "bias")]
        y = graph.node(
            "BinaryConv",
            [inputs[0], *constants],
            f"{name}.conv",
            domain="hwnas",
            dilations=[1, 1],
            group=layer.groups,
            in_channels=layer.in_shape[0] // layer.groups,
            kernel_shape=[layer.kernel, layer.kernel],
            pads=[pad, pad, pad, pad],
            strides=[layer.stride, layer.stride],
        )
        return graph.relu(layer, y, name, codes)


primitive = BinaryConv()
