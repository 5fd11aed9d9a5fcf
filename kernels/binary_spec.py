"""1-bit convolution on packed signs: xor, population count, and one epilogue from integers to the next layer's bits.

The dot product of n signs is n - 2 * popcount(x xor w). Exact zero padding keeps the halo's bits at 0 (that is -1) and
adds back, for each class of border pixels, the weights that met the halo. 1x1 and dense layers are the same kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.image import Image, Window, check_window, padded, patches
from hwnas.kernels.packed_bits import pack_bits, signs, word_count

PADDINGS = ("zero", "minus", "plus")
OUTPUTS = ("int32", "float", "bits", "float+bits")
ACTIVATIONS = ("none", "prelu", "rprelu")


@dataclass(frozen=True)
class BinaryConv:
    """One 1-bit convolution: everything that specialises its code.

    `x` is the packed input: `x.channels` = words of `in_channels` bits a pixel; its halo covers the window's reach and
    holds bits 0 for padding "zero" and "minus", valid bits 1 for "plus" (`packed_bits.pixel_fill`).
    Outputs: "int32" the dot products; "float" float32(dot) * scale + bias, two roundings, then the activation and the
    residual (in the other order where `residual_first`); "bits" dot >= an integer threshold per channel, packed;
    "float+bits" the float stream and its packed signs v >= threshold[c], in one pass.
    `prelu` is v if v >= 0 else v * slope; `rprelu` is prelu(v - shift_in) + shift_out, all per channel.
    """

    x: Image
    in_channels: int
    out_channels: int
    window: Window
    groups: int = 1
    padding: str = "zero"
    output: str = "float"
    y: Image | None = None
    bits: Image | None = None
    residual: Image | None = None
    activation: str = "none"
    residual_first: bool = False

    def __post_init__(self) -> None:
        self._check_choices()
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise HwnasError(
                f"binary conv: groups must divide the channels, got {self.groups} for "
                f"{self.in_channels} -> {self.out_channels}"
            )
        if self.x.channels != word_count(self.in_channels):
            raise HwnasError(
                f"binary conv: the input image must have {word_count(self.in_channels)} words a pixel for "
                f"{self.in_channels} channels, got {self.x.channels}"
            )
        if self.window.taps * self.in_channels >= 2**30:
            raise HwnasError(f"binary conv: {self.window.taps} taps of {self.in_channels} channels overflow int32")
        for image, channels in self._images():
            check_window("binary conv", self.x, image, self.window)
            if image.channels != channels:
                raise HwnasError(f"binary conv: an output image must have {channels} channels, got {image.channels}")

    def _check_choices(self) -> None:
        for name, value, known in (
            ("padding", self.padding, PADDINGS),
            ("output", self.output, OUTPUTS),
            ("activation", self.activation, ACTIVATIONS),
        ):
            if value not in known:
                raise HwnasError(f"binary conv: {name} must be one of {', '.join(known)}, got {value!r}")
        if ("bits" in self.output) != (self.bits is not None):
            raise HwnasError(f"binary conv: output {self.output!r} and the image of bits do not agree")
        if (self.output != "bits") != (self.y is not None):
            raise HwnasError(f"binary conv: output {self.output!r} and the image y do not agree")
        if "float" not in self.output and (self.residual is not None or self.activation != "none"):
            raise HwnasError(f"binary conv: output {self.output!r} takes neither residual nor activation")

    def _images(self) -> list[tuple[Image, int]]:
        found = [(self.y, self.out_channels), (self.residual, self.out_channels)]
        found.append((self.bits, word_count(self.out_channels)))
        return [(image, channels) for image, channels in found if image is not None]

    @property
    def out_size(self) -> tuple[int, int]:
        """(height, width) of the output."""
        return self.window.result(self.x.height, self.x.width)

    @property
    def group_channels(self) -> int:
        """Input channels of one group."""
        return self.in_channels // self.groups

    @property
    def dot_length(self) -> int:
        """Products in one full dot product."""
        return self.window.taps * self.group_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole layer."""
        height, width = self.out_size
        return height * width * self.out_channels * self.dot_length


@dataclass(frozen=True, eq=False)
class BinaryParameters:
    """The numbers of one layer: `weights` int8 -1/+1 [O, KH, KW, C / groups]; the rest per output channel, as used.

    `threshold` is float32 (the next layer's sign thresholds) for "float+bits", int32 for "bits".
    """

    weights: np.ndarray
    scale: np.ndarray | None = None
    bias: np.ndarray | None = None
    slope: np.ndarray | None = None
    shift_in: np.ndarray | None = None
    shift_out: np.ndarray | None = None
    threshold: np.ndarray | None = field(default=None)


def reference(
    spec: BinaryConv, words: np.ndarray, parameters: BinaryParameters, residual: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """The specification: packed input [H, W, words] to (float or int32 [OH, OW, O]) and/or (words [OH, OW, words])."""
    dot = reference_dot(spec, words, parameters.weights)
    if spec.output == "int32":
        return (dot,)
    if spec.output == "bits":
        assert parameters.threshold is not None
        return (pack_bits(dot >= parameters.threshold),)
    value = reference_float(spec, dot, parameters, residual)
    if spec.output == "float":
        return (value,)
    assert parameters.threshold is not None
    return value, pack_bits(value >= parameters.threshold)


def reference_dot(spec: BinaryConv, words: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The dot products, int32 [OH, OW, O]."""
    fill = {"zero": 0, "minus": -1, "plus": 1}[spec.padding]
    x = padded(signs(words, spec.in_channels).astype(np.int32), spec.window, fill)
    taps = patches(x, spec.window)
    taps = taps.reshape(*taps.shape[:3], spec.groups, spec.group_channels)
    kernel = weights.astype(np.int32).reshape(
        spec.groups, spec.out_channels // spec.groups, spec.window.taps, spec.group_channels
    )
    dot = np.einsum("yxtgc,gotc->yxgo", taps, kernel, optimize=True)
    return dot.reshape(*spec.out_size, spec.out_channels).astype(np.int32)


def reference_float(
    spec: BinaryConv, dot: np.ndarray, parameters: BinaryParameters, residual: np.ndarray | None
) -> np.ndarray:
    """The float32 epilogue, every operation rounded on its own."""
    assert parameters.scale is not None and parameters.bias is not None
    value = dot.astype(np.float32) * parameters.scale + parameters.bias
    if residual is not None and spec.residual_first:
        value = value + residual
    if spec.activation == "rprelu":
        value = value - parameters.shift_in
    if spec.activation != "none":
        value = np.where(value >= 0, value, value * parameters.slope)
    if spec.activation == "rprelu":
        value = value + parameters.shift_out
    if residual is not None and not spec.residual_first:
        value = value + residual
    return value.astype(np.float32)
