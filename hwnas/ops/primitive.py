"""Primitive: everything there is to know about one kind of layer, one kind a file of this folder.

A file defines one final class and its only instance, `primitive`. Training (`initial`, `forward`) is torch and imports
it inside the functions; everything else is numpy, so measuring and exporting never load torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hwnas import formats
from hwnas.formats import ActivationCodec, Arrays, Parameter, WeightCodec
from hwnas.network import Layer, Shape, elements
from hwnas.ops.numeric.scales import Codes, Scale

if TYPE_CHECKING:
    import torch

__all__ = [
    "Arrays",
    "Codes",
    "Graph",
    "Primitive",
    "activation_codec",
    "codec_shapes",
    "coded",
    "is_integer",
    "output_bytes",
    "relu",
    "start_of",
    "stored",
    "weight_codec",
]


class Graph(Protocol):
    """What a layer is written into: an ONNX graph, by names of its tensors (hwnas/export/onnx_graph.py)."""

    def constant(self, name: str, value: np.ndarray) -> str:
        """An initializer of any shape; the same name always holds the same value."""
        ...

    def node(self, kind: str, inputs: Sequence[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        """Adds a node with one output; gives the output's name."""
        ...

    def relu(self, layer: Layer, x: str, name: str, codes: Codes) -> str:
        """Relu where the layer has one and its codes do not saturate at zero."""
        ...

    def quantise(self, x: str, scale: Scale, name: str) -> str:
        """QuantizeLinear of `x` into `name`."""
        ...

    def dequantise(self, x: str, scale: Scale, name: str) -> str:
        """DequantizeLinear of `x` into `name`."""
        ...

    def weight_and_bias(self, name: str, tensors: Arrays, codes: Codes) -> tuple[str, str]:
        """The layer's weight and bias as float tensors."""
        ...


class Primitive(ABC):
    """One kind of layer. Parameters are keyed by their short name ("weight"); shapes leave the batch out."""

    #: the layer's input is raw uint8 pixels (H, W, C), not a tensor of the network
    reads_pixels: bool = False
    #: the float form's last bits are the engine's own: sums in any order, functions that are approximated
    is_approximate: bool = False

    def parameters(self, layer: Layer) -> dict[str, Shape]:
        """Shapes of what is trained."""
        return {}

    def buffers(self, layer: Layer) -> dict[str, Shape]:
        """Shapes of what training keeps track of: batch norm's running statistics."""
        return {}

    def constants(self, layer: Layer) -> dict[str, Shape]:
        """Shapes of what the data give and `fold` needs: neither trained nor tracked."""
        return {}

    def initial(self, layer: Layer, name: str, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """The value a parameter starts from."""
        raise AssertionError(f"{layer.kind} has no parameter {name}")

    def below(self, layer: Layer) -> int:
        """What the layer's first input must be below where it holds whole numbers (tokens, int64); 0 for real ones."""
        return 0

    def macs(self, layer: Layer) -> int:
        """Multiply-accumulates of one image."""
        return 0

    def weight_bytes(self, layer: Layer) -> int:
        """Bytes of the constants as shipped."""
        return 0

    @abstractmethod
    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        """The float32 forward in torch: integer layers give `coded` outputs of coded weights, 1-bit ones take signs."""

    def fold(self, layer: Layer, params: Arrays) -> dict[str, np.ndarray]:
        """The constants that inference needs, batch norm folded into them."""
        return {}

    def random(self, layer: Layer, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Folded constants drawn at random, scaled so that the output varies about as much as the input."""
        return {}

    def quantise(self, layer: Layer, tensors: Arrays, codes: Codes, weight_bits: int) -> dict[str, np.ndarray]:
        """The folded constants of an integer layer as integers, of at most `weight_bits` bits a weight."""
        return dict(tensors)

    def output_range(self, layer: Layer) -> tuple[float, float]:
        """A plausible range of the output of `random` constants, for measuring without data."""
        return (0.0, 6.0) if layer.activation == "relu" else (-4.0, 4.0)

    def output_code(self, layer: Layer, inputs: Sequence[Scale | None], low: float, high: float) -> Scale:
        """The code of an integer layer's output, from the range it was seen to take."""
        return Scale.of_arrays(activation_codec(layer).observe(np.array([low, high])))

    @abstractmethod
    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        """The float32 result in numpy from folded constants; inputs and result have a batch axis."""

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        """The uint8 result of uint8 inputs, bit for bit what ONNX Runtime computes."""
        raise AssertionError(f"{layer.kind} has no int8 form")

    def lower(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        """Add the layer to an ONNX graph; gives its output's name. Integer layers: from DequantizeLinear to
        QuantizeLinear."""
        if not is_integer(layer):
            return self.emit(layer, name, inputs, tensors, codes, graph)
        real = [graph.dequantise(source, codes.input(i), f"{name}.in{i}") for i, source in enumerate(inputs)]
        return graph.quantise(self.emit(layer, name, real, tensors, codes, graph), codes.target, name)

    @abstractmethod
    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        """The float ONNX nodes of the layer."""


def is_integer(layer: Layer) -> bool:
    """Whether the layer multiplies and gives integer codes."""
    return formats.of(layer.precision).arithmetic == "integer"


def weight_codec(layer: Layer) -> WeightCodec:
    """How the layer's weight is coded."""
    return formats.of(layer.precision).weight


def activation_codec(layer: Layer) -> ActivationCodec:
    """How an integer layer's output or a 1-bit convolution's input is coded."""
    codec = formats.of(layer.precision).activation
    assert codec is not None, f"{layer.precision} activations are no codes"
    return codec


def codec_shapes(layer: Layer) -> dict[str, Shape]:
    """Shapes of what the layer's codecs learn besides its weight; an integer layer's outputs learn nothing."""
    return {name: parameter.shape for name, parameter in _learnt(layer).items()}


def start_of(layer: Layer, name: str) -> float:
    """What a parameter of the layer's codecs starts from; 0 for any other (biases, means, shifts)."""
    learnt = _learnt(layer)
    return learnt[name].start if name in learnt else 0.0


def _learnt(layer: Layer) -> dict[str, Parameter]:
    number = formats.of(layer.precision)
    found = number.weight.parameters(layer)
    if number.arithmetic == "signs" and number.activation is not None:
        found = found | number.activation.parameters(layer)
    return found


def stored(layer: Layer, weight: np.ndarray, params: Arrays) -> dict[str, np.ndarray]:
    """A folded weight as it ships in a float format; in an integer one as it is quantised once its input's code is
    known, with what its codec learnt (as it starts, where `params` lack it)."""
    codec = weight_codec(layer)
    learnt = {
        name: np.asarray(params.get(name, np.full(one.shape, one.start)), np.float32)
        for name, one in codec.parameters(layer).items()
    }
    return {"weight": weight, **learnt} if is_integer(layer) else codec.encode(weight, learnt)


def coded(layer: Layer, y: torch.Tensor) -> torch.Tensor:
    """The layer's output in training: as its codes stand for it where it is an integer layer's."""
    return activation_codec(layer).train(y, {}, formats.training_progress()) if is_integer(layer) else y


def output_bytes(layer: Layer) -> int:
    """Bytes of a layer's output for one image: uint8 or float32 (1-bit layers give float32)."""
    return elements(layer.out_shape) * formats.element_bytes(formats.of(layer.precision).exchange)


def relu(layer: Layer, x: Any) -> Any:
    """`x` (torch or numpy) clamped at zero where the layer has a relu."""
    if layer.activation != "relu":
        return x
    return np.maximum(x, np.float32(0)) if isinstance(x, np.ndarray) else x.relu()
