"""A seeded grid of 1-bit convolutions and what it takes to run one kernel against its reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwnas.errors import HwnasError
from hwnas.kernels.binary_conv import BinaryConv, BinaryParameters, Tile, build, pack, reference, tiles
from hwnas.kernels.image import Image, Window
from hwnas.kernels.memory import aligned_copy
from hwnas.kernels.packed_bits import pack_bits, pixel_fill, word_count
from hwnas.kernels.target import Target

UNTOUCHED = 0xDEADBEEF


class Case:
    """One kernel with its inputs, and after the run the comparison of every output word, halo included."""

    def __init__(
        self,
        spec: BinaryConv,
        target: Target,
        rng: np.random.Generator,
        tile: Tile | None = None,
        signs: tuple[int, int] | None = None,
    ) -> None:
        self.spec = spec
        self.function = build(spec, target, tile)
        self.symbol = str(self.function.attrs["global_symbol"])
        self.words = pack_bits(random_signs(rng, (spec.x.height, spec.x.width, spec.in_channels)))
        self.parameters = random_parameters(spec, rng)
        if signs is not None:  # every input and every weight of one sign: the largest and the smallest sums
            self.words[...] = pixel_fill(spec.in_channels, signs[0])
            self.parameters.weights[...] = signs[1]
        self.residual: np.ndarray | None = None
        inputs = [packed_buffer(spec, self.words)]
        if spec.residual is not None:
            self.residual = rng.normal(size=spec.residual.shape).astype(np.float32)
            inputs.append(spec.residual.embed(self.residual, np.nan))
        self.images = [image for image in (spec.y, spec.bits) if image is not None]
        self.outputs = [aligned_copy(np.full(image.size, UNTOUCHED, np.uint32)) for image in self.images]
        constants = pack(spec, target, self.parameters)
        self.arguments = [aligned_copy(array) for array in (*inputs, *constants)] + self.outputs

    def problem(self) -> str | None:
        """What is wrong with the outputs after the run; None where every bit is right and the halos are untouched."""
        expected = reference(self.spec, self.words, self.parameters, self.residual)
        for image, output, right in zip(self.images, self.outputs, expected, strict=True):
            whole = image.embed(np.ascontiguousarray(right).view(np.uint32).reshape(image.shape), UNTOUCHED)
            if not np.array_equal(whole, output):
                return f"{int((whole != output).sum())} of {whole.size} words differ: {self.symbol} {self.spec}"
        return None


def random_signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Booleans: usually random, sometimes all one value."""
    kind = rng.integers(0, 8)
    return np.full(shape, kind == 0) if kind < 2 else rng.random(shape) < 0.5


def random_parameters(spec: BinaryConv, rng: np.random.Generator) -> BinaryParameters:
    """Weights and epilogue numbers; integer thresholds sit where dot products do, so ties are frequent."""
    shape = (spec.out_channels, *spec.window.kernel, spec.group_channels)
    weights = np.where(random_signs(rng, shape), 1, -1).astype(np.int8)
    scale, bias, slope, shift_in, shift_out = rng.normal(size=(5, spec.out_channels)).astype(np.float32)
    spread = max(2, int(spec.dot_length**0.5))
    threshold = rng.integers(-spread, spread + 1, spec.out_channels).astype(np.int32)
    if spec.output == "float+bits":
        threshold = np.where(rng.random(spec.out_channels) < 0.2, 0, threshold).astype(np.float32)
    if rng.random() < 0.3:  # whole numbers: v == threshold happens
        scale, bias = np.ones_like(scale), np.zeros_like(bias)
    return BinaryParameters(weights, scale, bias, slope, shift_in, shift_out, threshold)


def packed_buffer(spec: BinaryConv, words: np.ndarray) -> np.ndarray:
    """The flat packed input with its halo filled as the spec demands."""
    top, bottom, left, right = spec.x.halo
    fill = pixel_fill(spec.in_channels, 1 if spec.padding == "plus" else -1)
    whole = np.zeros((spec.x.height + top + bottom, spec.x.width + left + right, spec.x.pixel), np.uint32)
    whole[..., : len(fill)] = fill
    whole[top : top + spec.x.height, left : left + spec.x.width, : len(fill)] = words
    return whole.reshape(-1)


def convolution(
    height: int,
    width: int,
    in_channels: int,
    out_channels: int,
    window: Window,
    *,
    groups: int = 1,
    padding: str = "zero",
    output: str = "int32",
    activation: str = "none",
    residual: bool = False,
    residual_first: bool = False,
    slack: int = 0,
) -> BinaryConv:
    """A spec whose images have just the halo they need plus `slack` pixels on every side."""
    out_height, out_width = window.result(height, width)
    reach = window.reach(height, width)
    around = (slack, slack, slack, slack)
    y = Image(out_height, out_width, out_channels, around)
    packed = Image(out_height, out_width, word_count(out_channels), around)
    halo = (reach[0] + slack, reach[1] + slack, reach[2] + slack, reach[3] + slack)
    return BinaryConv(
        x=Image(height, width, word_count(in_channels), halo),
        in_channels=in_channels,
        out_channels=out_channels,
        window=window,
        groups=groups,
        padding=padding,
        output=output,
        y=None if output == "bits" else y,
        bits=packed if "bits" in output else None,
        residual=replace(y, halo=(0, slack, slack, 0)) if residual else None,
        activation=activation,
        residual_first=residual_first,
    )


def random_convolution(rng: np.random.Generator, largest: int = 90) -> BinaryConv:
    """One convolution from the whole grid: kernels, strides, dilation, groups, paddings, outputs, odd sizes."""
    while True:
        groups = int(rng.choice([1, 1, 1, 2, 3, 4, 8, 32]))
        group = int(rng.choice([1, 32, 64, int(rng.integers(1, largest)), int(rng.integers(1, largest))]))
        outputs = groups * int(rng.integers(1, max(2, 70 // groups)))
        kernel = (int(rng.choice([1, 3, 5, 7])), int(rng.choice([1, 3, 3, 5])))
        pads = tuple(int(rng.integers(0, size)) for size in (*kernel, *kernel))
        stride = (int(rng.integers(1, 4)), int(rng.integers(1, 3)))
        dilation = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        window = Window(kernel, stride, (pads[0], pads[1], pads[2], pads[3]), dilation)
        height, width = (int(size) for size in rng.integers(1, 12, 2))
        output = str(rng.choice(["int32", "float", "bits", "float+bits"]))
        floats = "float" in output
        try:
            return convolution(
                height,
                width,
                groups * group,
                outputs,
                window,
                groups=groups,
                padding=str(rng.choice(["zero", "minus", "plus"])),
                output=output,
                activation=str(rng.choice(["none", "prelu", "rprelu"])) if floats else "none",
                residual=floats and bool(rng.integers(0, 2)),
                residual_first=bool(rng.integers(0, 2)),
                slack=int(rng.integers(0, 2)),
            )
        except HwnasError:  # the window does not fit this image
            continue


def random_case(rng: np.random.Generator, target: Target, largest: int = 90) -> Case:
    """A case of the grid with one of the tiles offered for it."""
    spec = random_convolution(rng, largest)
    offered = tiles(spec, target)
    return Case(spec, target, rng, offered[int(rng.integers(0, len(offered)))])
