"""conv: dense, grouped or depthwise convolution, batch norm, and optionally relu; padding is kernel // 2.

Attribute `affine` (True where it is not given): whether batch norm has a learnt scale and shift. In a mixture of
operators it must not: each would rescale itself, and the weight of the mixture mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.formats import training_progress
from hwnas.network import Layer, Shape, elements
from hwnas.ops.numeric.convolve import convolve, convolve_exact
from hwnas.ops.numeric.scales import requantise
from hwnas.ops.primitive import (
    Arrays,
    Codes,
    Graph,
    Primitive,
    codec_shapes,
    coded,
    relu,
    start_of,
    stored,
    weight_codec,
)

if TYPE_CHECKING:
    import torch

EPSILON = np.float32(1e-5)  # batch norm's, the same as in numeric/normalise.py


def weight_shape(layer: Layer) -> Shape:
    """(O, C / groups, k, k)."""
    return (layer.out_shape[0], layer.in_shape[0] // layer.groups, layer.kernel, layer.kernel)


def convolution_macs(layer: Layer) -> int:
    """Multiply-accumulates of a convolution, 1-bit ones counted like any other."""
    return elements(weight_shape(layer)) * layer.out_shape[1] * layer.out_shape[2]


def normalisation(layer: Layer, params: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Batch norm as `x * scale + shift`, both float32 (O,)."""
    one = np.ones_like(params["var"])
    scale = params.get("gamma", one) / np.sqrt(params["var"] + EPSILON)
    return scale.astype(np.float32), (params.get("beta", one * 0) - params["mean"] * scale).astype(np.float32)


@final
class Conv(Primitive):
    """Weight (O, C / groups, k, k); gamma, beta, mean, var (O,). Folded: weight, bias (O,)."""

    is_approximate = True

    def parameters(self, layer: Layer) -> dict[str, Shape]:
        channels = (layer.out_shape[0],)
        affine = {"gamma": channels, "beta": channels} if layer.optional("affine", True) else {}
        return {"weight": weight_shape(layer), **codec_shapes(layer), **affine}

    def buffers(self, layer: Layer) -> dict[str, Shape]:
        return {"mean": (layer.out_shape[0],), "var": (layer.out_shape[0],)}

    def initial(self, layer: Layer, name: str, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        import torch

        if name == "weight":  # He et al. 2015, over the fan-in
            return torch.randn(shape, generator=generator) * (2.0 / elements(shape[1:])) ** 0.5
        return torch.full(shape, 1.0 if name in ("gamma", "var") else start_of(layer, name))

    def macs(self, layer: Layer) -> int:
        return convolution_macs(layer)

    def weight_bytes(self, layer: Layer) -> int:
        return weight_codec(layer).stored_bytes(weight_shape(layer)) + 4 * layer.out_shape[0]

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        from hwnas.ops.numeric.normalise import batch_norm

        weight = weight_codec(layer).train(params["weight"], params, training_progress())
        y = F.conv2d(inputs[0], weight, None, layer.stride, layer.kernel // 2, 1, layer.groups)
        return coded(layer, relu(layer, batch_norm(y, params, training)))

    def fold(self, layer: Layer, params: Arrays) -> dict[str, np.ndarray]:
        scale, shift = normalisation(layer, params)
        weight = (params["weight"] * scale[:, None, None, None]).astype(np.float32)
        return {**stored(layer, weight, params), "bias": shift}

    def random(self, layer: Layer, rng: np.random.Generator) -> dict[str, np.ndarray]:
        shape = weight_shape(layer)
        weight = rng.standard_normal(shape, dtype=np.float32) * np.float32(elements(shape[1:]) ** -0.5)
        bias = rng.standard_normal(shape[0], dtype=np.float32) * np.float32(0.1)
        return {**stored(layer, weight, {}), "bias": bias}

    def quantise(self, layer: Layer, tensors: Arrays, codes: Codes, weight_bits: int) -> dict[str, np.ndarray]:
        weight = weight_codec(layer).encode(tensors["weight"], tensors, weight_bits)
        return {**weight, "bias": integer_bias(tensors["bias"], codes, weight["weight_scale"])}

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        y = convolve(inputs[0], tensors["weight"], layer.stride, layer.groups)
        result: np.ndarray = relu(layer, y + tensors["bias"][:, None, None])
        return result

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        centred = inputs[0].astype(np.int16) - codes.source.zero_point
        accumulator = convolve_exact(centred, tensors["weight"], layer.stride, layer.groups)
        accumulator += tensors["bias"][:, None, None]
        return requantise(accumulator, factors(tensors, codes)[:, None, None], codes.target.zero_point)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        operands = [inputs[0], *graph.weight_and_bias(name, tensors, codes)]
        pad = layer.kernel // 2
        y = graph.node(
            "Conv",
            operands,
            f"{name}.conv",
            dilations=[1, 1],
            group=layer.groups,
            kernel_shape=[layer.kernel, layer.kernel],
            pads=[pad, pad, pad, pad],
            strides=[layer.stride, layer.stride],
        )
        return graph.relu(layer, y, name, codes)


def integer_bias(bias: np.ndarray, codes: Codes, weight_scale: np.ndarray) -> np.ndarray:
    """The float bias in units of input scale x weight scale, int32."""
    unit = (codes.source.value * weight_scale).astype(np.float32)
    limit = 2.0**30  # leaves a bit of headroom for the accumulated products
    return np.clip(np.rint(bias.astype(np.float64) / unit), -limit, limit).astype(np.int32)


def factors(tensors: Arrays, codes: Codes) -> np.ndarray:
    """float32 (O,) that takes the accumulator to output codes, in ONNX Runtime's order: (s_x * s_w) / s_y."""
    result: np.ndarray = (codes.source.value * tensors["weight_scale"]) / codes.target.value
    return result


primitive = Conv()
