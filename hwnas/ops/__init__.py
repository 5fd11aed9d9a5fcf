"""Operators as a whole: what a block's parameters are, how it runs in torch, what it costs on paper.

Names are "<layer>.<parameter>" ("expand.weight"). Everything but `forward` and `initial` is plain Python and cheap,
and nothing here loads torch until one of those two is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hwnas import formats
from hwnas.network import Layer, Network, Operator, Port, Shape, defined, elements
from hwnas.ops.primitive import Primitive, output_bytes

if TYPE_CHECKING:
    import torch

THING = "primitive"  # what a layer kind's file defines; the others serve them

__all__ = [
    "buffers",
    "forward",
    "gives_codes",
    "initial",
    "input_bytes",
    "input_names",
    "least_peak_bytes",
    "macs",
    "network_peak_bytes",
    "parameter_count",
    "parameters",
    "peak_bytes",
    "primitive_of",
    "reads_codes",
    "reads_pixels",
    "weight_bytes",
]


@cache
def primitive_of(kind: str) -> Primitive:
    """The primitive of a layer kind: a file of this folder, or an import path that holds `primitive`."""
    found: Primitive = defined(kind, "ops", "primitive")
    return found


def parameters(operator: Operator) -> dict[str, Shape]:
    """Shapes of what is trained, in a fixed order."""
    return {
        f"{e.name}.{key}": shape for e in operator.layers for key, shape in primitive_of(e.kind).parameters(e).items()
    }


def buffers(operator: Operator) -> dict[str, Shape]:
    """Shapes of batch norm's running statistics."""
    return {f"{e.name}.{key}": shape for e in operator.layers for key, shape in primitive_of(e.kind).buffers(e).items()}


def initial(operator: Operator, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Starting values of all of `parameters` and then of all of `buffers` (mean 0, variance 1)."""
    values: dict[str, torch.Tensor] = {}
    for layer in operator.layers:
        primitive = primitive_of(layer.kind)
        for name, shape in primitive.parameters(layer).items():
            values[f"{layer.name}.{name}"] = primitive.initial(layer, name, shape, generator)
    for layer in operator.layers:
        primitive = primitive_of(layer.kind)
        for name, shape in primitive.buffers(layer).items():
            values[f"{layer.name}.{name}"] = primitive.initial(layer, name, shape, generator)
    return values


def forward(
    operator: Operator, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
) -> torch.Tensor:
    """The block's output (N, *output_shape) for its inputs (N, *shape of each); stateless but for `mean` and `var`.

    Batch norm uses the batch's statistics when training or where params leaves `<layer>.mean` and `<layer>.var` out;
    when training and they are given, they are updated in place. Codecs see the training's progress
    (`formats.at_progress`), and 1.0 where `training` is false.
    """
    if not training and formats.training_progress() != 1.0:  # judged in the middle of a step: as it would ship
        with formats.at_progress(1.0):
            return forward(operator, inputs, params, training)
    values = dict(zip(input_names(operator), inputs, strict=True))
    for layer in operator.layers:
        primitive = primitive_of(layer.kind)
        names = _tensor_names(layer)
        mine = {short: params[full] for short, full in names if full in params}
        values[layer.name] = primitive.forward(layer, [values[source] for source in layer.inputs], mine, training)
    return values[operator.layers[-1].name]


def input_names(operator: Operator) -> list[str]:
    """What the block's layers call its inputs: "input", "input1", "input2", ..."""
    return [f"input{i or ''}" for i in range(len(operator.inputs))]


@lru_cache(maxsize=65536)
def _tensor_names(layer: Layer) -> tuple[tuple[str, str], ...]:
    primitive = primitive_of(layer.kind)
    shorts = [*primitive.parameters(layer), *primitive.buffers(layer)]
    return tuple((short, f"{layer.name}.{short}") for short in shorts)


def macs(operator: Operator) -> int:
    """Multiply-accumulates of one image, at any precision."""
    return sum(primitive_of(layer.kind).macs(layer) for layer in operator.layers)


def parameter_count(operator: Operator) -> int:
    """Number of trained values."""
    return sum(elements(shape) for shape in parameters(operator).values())


def weight_bytes(operator: Operator) -> int:
    """Bytes of the constants as shipped: weights as their format stores them, with scales, thresholds and biases."""
    return sum(primitive_of(layer.kind).weight_bytes(layer) for layer in operator.layers)


def peak_bytes(operator: Operator) -> int:
    """Largest sum of tensors alive at once inside the block, its inputs and output included, for one image."""
    layers = operator.layers
    last_use = {source: i for i, layer in enumerate(layers) for source in layer.inputs}
    alive = dict(zip(input_names(operator), input_bytes(operator), strict=True))
    peak = 0
    for i, layer in enumerate(layers):
        alive[layer.name] = output_bytes(layer)
        peak = max(peak, sum(alive.values()))
        for source in set(layer.inputs):
            if last_use[source] == i:
                del alive[source]
    return peak


def least_peak_bytes(operator: Operator) -> int:
    """`peak_bytes` where all its inputs are one tensor: what no network with the block needs less than."""
    given = input_bytes(operator)
    return peak_bytes(operator) - (sum(given) - max(given))


def network_peak_bytes(network: Network) -> int:
    """Largest sum of tensors alive at once while the network's blocks run in their order, for one image: what is alive
    inside a block, and what waits beside it for a later reader. Of a chain it is the largest block's."""
    last_use = {source: i for i, node in enumerate(network) for source in node.inputs}
    last_use |= dict.fromkeys(network.outputs, len(network))
    sizes: dict[str, int] = {}
    for node in network:
        sizes |= {
            source: size
            for source, size in zip(node.inputs, input_bytes(node.operator), strict=True)
            if source in network.inputs
        }
    alive = dict(sizes)
    peak = 0
    for i, node in enumerate(network):
        waiting = sum(size for name, size in alive.items() if name not in node.inputs)
        # A tensor that the block reads twice is there once.
        twice = sum(input_bytes(node.operator)) - sum(alive[name] for name in set(node.inputs))
        peak = max(peak, waiting + peak_bytes(node.operator) - twice)
        alive[node.name] = output_bytes(node.operator.layers[-1])
        alive = {name: size for name, size in alive.items() if last_use.get(name, -1) > i}
    return peak


def reads_pixels(operator: Operator) -> bool:
    """Whether the block takes raw uint8 pixels (H, W, C)."""
    return primitive_of(operator.layers[0].kind).reads_pixels


def reads_codes(operator: Operator) -> bool:
    """Whether a block takes the uint8 codes of its inputs: an integer block, unless it makes them itself."""
    first = operator.layers[0]
    return first.kind == "dequantize" or (gives_codes(operator) and first.kind != "quantize")


def gives_codes(operator: Operator) -> bool:
    """Whether a block gives the uint8 codes of its output."""
    return formats.of(operator.precision).exchange == "uint8"


def input_bytes(operator: Operator) -> list[int]:
    """Bytes of each input for one image."""
    return [elements(port.shape) * _width(operator, port) for port in operator.inputs]


def _width(operator: Operator, port: Port) -> int:
    """Bytes of one input value."""
    if port.dtype != "float32":
        return np.dtype(port.dtype).itemsize
    if reads_pixels(operator):
        return 1
    return 1 if reads_codes(operator) else 4
