"""Format: `subject` is a Format; what ships of a weight is what training felt of it, and takes the bytes it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from hwnas import formats
from hwnas.formats import Codec, Format
from hwnas.network import Layer, Shape
from hwnas.testing import hold

if TYPE_CHECKING:
    import torch

# convolutions with channels on and off eight a byte, grouped, pointwise
SHAPES: tuple[Shape, ...] = ((4, 8, 3, 3), (10, 5, 5, 5), (7, 1, 3, 3), (16, 19, 1, 1))
SEEDS = 3


def ships_the_weight_that_training_felt(subject: Format) -> None:
    """decode(encode(w)) == train(w, progress 1), bit for bit, on the folded weight."""
    import torch

    for shape, weight in _weights():
        params = _started(subject.weight, shape)
        felt = subject.weight.train(torch.from_numpy(weight.copy()), params, 1.0).numpy()
        kept = subject.weight.decode(subject.weight.encode(weight, _arrays(params)), shape)
        hold(kept.dtype == np.float32 and kept.shape == shape, f"decode gives float32 {shape}, got {kept.shape}")
        off = int((kept != felt).sum())
        hold(not off, f"decode(encode(w)) == train(w, 1.0), but {off} of {kept.size} values of {shape} differ")


def takes_the_bytes_it_says(subject: Format) -> None:
    for shape, weight in _weights():
        made = subject.weight.encode(weight, _arrays(_started(subject.weight, shape)))
        taken, said = sum(array.nbytes for array in made.values()), subject.weight.stored_bytes(shape)
        hold(taken == said, f"stored_bytes({shape}) is what encode's arrays take, {taken} B, got {said}")


def lets_a_gradient_reach_the_weight(subject: Format) -> None:
    import torch

    weight = (torch.randn(SHAPES[0], generator=torch.Generator().manual_seed(0)) * 0.2).requires_grad_()
    subject.weight.train(weight, _started(subject.weight, SHAPES[0])).sum().backward()
    gradient = weight.grad
    reaches = gradient is not None and bool(torch.isfinite(gradient).all()) and float(gradient.abs().sum()) > 0
    hold(reaches, "train has a surrogate gradient: finite, and not zero everywhere")


def stores_the_activations_that_training_felt(subject: Format) -> None:
    import torch

    codec = subject.activation
    hold((codec is None) == (subject.arithmetic == "float"), "activations are codes unless the arithmetic is float")
    if codec is None:
        return
    for low in (-3.0, 0.0, 0.5):
        x = np.random.default_rng(0).uniform(low, 4.0, (3, 8, 6, 5)).astype(np.float32)
        params = _started(codec, SHAPES[0])
        felt = codec.train(torch.from_numpy(x.copy()), params, 1.0).numpy()
        made = codec.encode(x, {**_arrays(params), **codec.observe(x)})
        wide = [name for name, array in made.items() if array.dtype.itemsize != 1 and name != "scale"]
        hold(not wide, f"codes of activations take a byte each, but not {wide}")
        off = int((codec.decode(made, x.shape) != felt).sum())
        hold(not off, f"decode(encode(x)) == train(x, 1.0), but {off} of {x.size} activations from {low} to 4 differ")


def keeps_integers_to_the_bits_that_a_processor_multiplies_exactly(subject: Format) -> None:
    if subject.arithmetic != "integer":
        return
    shape, weight = next(_weights())
    for bits in (8, 7):
        made = subject.weight.encode(weight, _arrays(_started(subject.weight, shape)), bits)
        hold(made["weight"].dtype == np.int8, f"integer weights are int8, got {made['weight'].dtype}")
        hold(made["weight_scale"].shape == (shape[0],), "an output channel has one scale")
        largest = int(np.abs(made["weight"].astype(int)).max())
        hold(largest <= 2 ** (bits - 1) - 1, f"codes of {bits} bits lie within {2 ** (bits - 1) - 1}, got {largest}")


def says_in_which_formats_a_network_may_end(subject: Format) -> None:
    hold(subject.ends, "a format says in which formats a network's stem and head may be")
    for end in subject.ends:
        hold(end in formats.of(end).ends, f"a network may begin and end in {end} itself, of which {end} says nothing")


def _weights() -> Iterator[tuple[Shape, np.ndarray]]:
    """Weights as batch norm leaves them: channels of very different sizes, one all zero, one of numbers near nothing,
    values that lie halfway between two codes."""
    for seed in range(SEEDS):
        for shape in SHAPES:
            rng = np.random.default_rng(seed)
            weight = rng.standard_normal(shape, dtype=np.float32) * np.exp(rng.normal(0, 3, (shape[0], 1, 1, 1)))
            weight[0], weight[1] = 0.0, weight[1] * 1e-42
            weight[2] = rng.integers(-254, 255, shape[1:]) / 2  # its scale is 1, so that every odd one ties
            weight[2].flat[0] = 127.0
            yield shape, weight.astype(np.float32)


def _started(codec: Codec, shape: Shape) -> dict[str, torch.Tensor]:
    """The codec's parameters of a convolution with a weight of this shape, as they start."""
    import torch

    size = (shape[1], 6, 5)
    layer = Layer("conv", "conv", ("input",), size, (shape[0], *size[1:]), kernel=shape[2])
    return {name: torch.full(one.shape, one.start) for name, one in codec.parameters(layer).items()}


def _arrays(params: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in params.items()}
