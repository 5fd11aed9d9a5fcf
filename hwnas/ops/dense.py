"""dense: a fully connected layer with bias, on (C,), every row of (T, C) or (C, 1, 1) (there a 1 x 1 convolution)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.formats import training_progress
from hwnas.network import Layer, Shape
from hwnas.ops.conv import factors, integer_bias
from hwnas.ops.numeric.convolve import multiply_exact
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


def weight_shape(layer: Layer) -> Shape:
    """(O, C)."""
    last = -1 if rows(layer) else 0
    return (layer.out_shape[last], layer.in_shape[last])


def rows(layer: Layer) -> int:
    """T of an input (T, C): the layer is applied to every row; 0 of another."""
    return layer.in_shape[0] if len(layer.in_shape) == 2 else 0


@final
class Dense(Primitive):
    """Weight (O, C), bias (O,). An output shape (O, 1, 1) keeps the image axes; (O,) drops them."""

    is_approximate = True

    def parameters(self, layer: Layer) -> dict[str, Shape]:
        return {"weight": weight_shape(layer), **codec_shapes(layer), "bias": weight_shape(layer)[:1]}

    def initial(self, layer: Layer, name: str, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        import torch

        if name == "weight":
            return torch.randn(shape, generator=generator) * shape[1] ** -0.5
        return torch.full(shape, start_of(layer, name))

    def macs(self, layer: Layer) -> int:
        outputs, inputs = weight_shape(layer)
        return outputs * inputs * max(rows(layer), 1)

    def weight_bytes(self, layer: Layer) -> int:
        return weight_codec(layer).stored_bytes(weight_shape(layer)) + 4 * weight_shape(layer)[0]

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch.nn.functional as F

        weight = weight_codec(layer).train(params["weight"], params, training_progress())
        y = relu(layer, F.linear(inputs[0] if rows(layer) else inputs[0].flatten(1), weight, params["bias"])).reshape(
            -1, *layer.out_shape
        )
        return coded(layer, y)

    def fold(self, layer: Layer, params: Arrays) -> dict[str, np.ndarray]:
        return {**stored(layer, params["weight"].astype(np.float32), params), "bias": params["bias"].astype(np.float32)}

    def random(self, layer: Layer, rng: np.random.Generator) -> dict[str, np.ndarray]:
        outputs, inputs = weight_shape(layer)
        weight = rng.standard_normal((outputs, inputs), dtype=np.float32) * np.float32(inputs**-0.5)
        bias = rng.standard_normal(outputs, dtype=np.float32) * np.float32(0.1)
        return {**stored(layer, weight, {}), "bias": bias}

    def quantise(self, layer: Layer, tensors: Arrays, codes: Codes, weight_bits: int) -> dict[str, np.ndarray]:
        weight = weight_codec(layer).encode(tensors["weight"], tensors, weight_bits)
        return {**weight, "bias": integer_bias(tensors["bias"], codes, weight["weight_scale"])}

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        flat = inputs[0].reshape(-1, weight_shape(layer)[1])
        y: np.ndarray = relu(layer, flat @ tensors["weight"].astype(np.float32, copy=False).T + tensors["bias"])
        return y.reshape(-1, *layer.out_shape)

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        flat = inputs[0].reshape(-1, weight_shape(layer)[1]).astype(np.float32) - np.float32(codes.source.zero_point)
        accumulator = multiply_exact(flat, tensors["weight"].T.astype(np.float32)) + tensors["bias"]
        y = requantise(accumulator, factors(tensors, codes), codes.target.zero_point)
        return y.reshape(-1, *layer.out_shape)

    def lower(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        source = inputs[0]
        if len(layer.in_shape) == 3 and len(layer.out_shape) == 1:
            # Before DequantizeLinear, on the codes: between it and Gemm it would hide the pair from fusion.
            source = graph.node("Flatten", [source], f"{name}.flat", axis=1)
        if not rows(layer):
            return super().lower(layer, name, [source], tensors, codes, graph)
        outputs, depth = weight_shape(layer)
        flat = graph.node("Reshape", [source, _sizes(graph, f"{name}.flat", -1, depth)], f"{name}.rows")
        y = super().lower(layer, f"{name}.of_rows", [flat], tensors, codes, graph)
        return graph.node("Reshape", [y, _sizes(graph, name, -1, rows(layer), outputs)], name)

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        if len(layer.out_shape) < 3:
            operands = [inputs[0], *graph.weight_and_bias(name, tensors, codes)]
            y = graph.node("Gemm", operands, f"{name}.gemm", transB=1)
        else:
            filters = dict(tensors, weight=tensors["weight"][:, :, None, None])
            operands = [inputs[0], *graph.weight_and_bias(name, filters, codes)]
            y = graph.node("Conv", operands, f"{name}.conv", kernel_shape=[1, 1])
        return graph.relu(layer, y, name, codes)


def _sizes(graph: Graph, name: str, *sizes: int) -> str:
    return graph.constant(f"{name}.sizes", np.array(sizes, np.int64))


primitive = Dense()
