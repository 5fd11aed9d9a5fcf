"""Primitive: everything there is to know about one kind of layer, one kind a file of this folder.

A file defines one final class and its only instance, `primitive`. Training (`initial`, `forward`) is torch and imports
it inside the functions; everything else is numpy, so measuring and exporting never load torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.network import Layer, Shape, elements
from hwnas.ops.numeric.scales import Scale

if TYPE_CHECKING:
    import torch

    from hwnas.export.onnx_graph import Graph

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Codes:
    """The uint8 codes of a layer's inputs and of its output; None where that tensor is float32."""

    inputs: tuple[Scale | None, ...]
    output: Scale | None

    @property
    def source(self) -> Scale:
        """The first input's code."""
        return self.input(0)

    @property
    def target(self) -> Scale:
        """The output's code."""
        assert self.output is not None, "an int8 layer's output has a code"
        return self.output

    def input(self, index: int) -> Scale:
        """The code of one input."""
        scale = self.inputs[index]
        assert scale is not None, "an int8 layer's input has a code"
        return scale


class Primitive(ABC):
    """One kind of layer. Parameters are keyed by their short name ("weight"); shapes leave the batch out."""

    #: the layer's input is raw uint8 pixels (H, W, C), not a tensor of the network
    reads_pixels: bool = False

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
        """The float32 forward in torch; int8 layers fake-quantise, w1a1 layers take signs."""

    def fold(self, layer: Layer, params: Arrays) -> dict[str, np.ndarray]:
        """The constants that inference needs, batch norm folded into them."""
        return {}

    def random(self, layer: Layer, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Folded constants drawn at random, scaled so that the output varies about as much as the input."""
        return {}

    def quantise(self, layer: Layer, tensors: Arrays, codes: Codes, weight_bits: int) -> dict[str, np.ndarray]:
        """The folded constants of an int8 layer as integers."""
        return dict(tensors)

    def output_range(self, layer: Layer) -> tuple[float, float]:
        """A plausible range of the output of `random` constants, for measuring without data."""
        return (0.0, 6.0) if layer.activation == "relu" else (-4.0, 4.0)

    def output_code(self, layer: Layer, inputs: Sequence[Scale | None], low: float, high: float) -> Scale:
        """The code of an int8 layer's output, from the range it was seen to take."""
        return Scale.of_range(low, high)

    @abstractmethod
    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        """The float32 result in numpy from folded constants; inputs and result have a batch axis."""

    def reference_int8(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays, codes: Codes) -> np.ndarray:
        """The uint8 result of uint8 inputs, bit for bit what ONNX Runtime computes."""
        raise AssertionError(f"{layer.kind} has no int8 form")

    def lower(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        """Add the layer to an ONNX graph; gives its output's name. int8: from DequantizeLinear to QuantizeLinear."""
        if layer.precision != "int8":
            return self.emit(layer, name, inputs, tensors, codes, graph)
        real = [graph.dequantise(source, codes.input(i), f"{name}.in{i}") for i, source in enumerate(inputs)]
        return graph.quantise(self.emit(layer, name, real, tensors, codes, graph), codes.target, name)

    @abstractmethod
    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        """The float ONNX nodes of the layer."""


def output_bytes(layer: Layer) -> int:
    """Bytes of a layer's output for one image: uint8 or float32 (1-bit layers give float32)."""
    return elements(layer.out_shape) * (1 if layer.precision == "int8" else 4)


def relu(layer: Layer, x: Any) -> Any:
    """`x` (torch or numpy) clamped at zero where the layer has a relu."""
    if layer.activation != "relu":
        return x
    return np.maximum(x, np.float32(0)) if isinstance(x, np.ndarray) else x.relu()
