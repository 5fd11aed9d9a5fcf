"""1-bit dense layer: the 1x1 convolution of a one-pixel image."""

from __future__ import annotations

from hwnas.kernels.binary_conv import Tile, build, pack, reference, tiles
from hwnas.kernels.binary_spec import BinaryConv, BinaryParameters
from hwnas.kernels.image import Image, Window
from hwnas.kernels.packed_bits import word_count

__all__ = ["BinaryConv", "BinaryParameters", "Tile", "build", "dense", "pack", "reference", "tiles"]


def dense(
    inputs: int, outputs: int, output: str = "float", activation: str = "none", residual: bool = False
) -> BinaryConv:
    """The spec of a dense layer, packed signs [inputs] to [outputs]; weights are int8 -1/+1 [outputs, 1, 1, inputs]."""
    row = Image(1, 1, outputs)
    return BinaryConv(
        x=Image(1, 1, word_count(inputs)),
        in_channels=inputs,
        out_channels=outputs,
        window=Window(),
        output=output,
        y=None if output == "bits" else row,
        bits=Image(1, 1, word_count(outputs)) if "bits" in output else None,
        residual=row if residual else None,
        activation=activation,
    )
