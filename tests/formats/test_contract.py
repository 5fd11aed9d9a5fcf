"""What every format promises: what ships is what training felt, bit for bit, and takes the bytes that it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas import find, formats
from hwnas.errors import HwnasError
from hwnas.formats import Codec
from hwnas.network import Layer, Shape

# convolutions with channels on and off eight a byte, grouped, pointwise
SHAPES: tuple[Shape, ...] = ((4, 8, 3, 3), (10, 5, 5, 5), (7, 1, 3, 3), (16, 19, 1, 1))
every_format = pytest.mark.parametrize("name", formats.names())
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def folded(shape: Shape, seed: int) -> np.ndarray:
    """A weight as batch norm leaves it: channels of very different sizes, one all zero, one of numbers near nothing,
    values that lie halfway between two codes."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(shape, dtype=np.float32) * np.exp(rng.normal(0, 3, (shape[0], 1, 1, 1)))
    weight[0], weight[1] = 0.0, weight[1] * 1e-42
    weight[2] = rng.integers(-254, 255, shape[1:]) / 2  # with a largest value of 127 its scale is 1: every odd one ties
    weight[2].flat[0] = 127.0
    return weight.astype(np.float32)


def layer_of(shape: Shape, name: str) -> Layer:
    size = (shape[1], 6, 5)
    return Layer("conv", "conv", ("input",), size, (shape[0], *size[1:]), name, kernel=shape[2])


def started(codec: Codec, layer: Layer) -> dict[str, torch.Tensor]:
    """The codec's parameters as they start."""
    return {name: torch.full(p.shape, p.start) for name, p in codec.parameters(layer).items()}


def arrays(params: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in params.items()}


@every_format
@every_shape
@pytest.mark.parametrize("seed", range(3))
def test_the_stored_weight_is_what_training_felt(name: str, shape: Shape, seed: int) -> None:
    codec, weight = formats.of(name).weight, folded(shape, seed)
    params = started(codec, layer_of(shape, name))
    felt = codec.train(torch.from_numpy(weight.copy()), params, 1.0).numpy()
    kept = codec.decode(codec.encode(weight, arrays(params)), shape)
    assert kept.dtype == felt.dtype == np.float32 and kept.shape == shape
    np.testing.assert_array_equal(kept, felt)


@every_format
@every_shape
def test_a_weight_takes_the_bytes_that_its_format_says(name: str, shape: Shape) -> None:
    codec, weight = formats.of(name).weight, folded(shape, 0)
    made = codec.encode(weight, arrays(started(codec, layer_of(shape, name))))
    assert sum(array.nbytes for array in made.values()) == codec.stored_bytes(shape)


@every_format
def test_a_weights_gradient_reaches_the_latent_weight(name: str) -> None:
    shape = SHAPES[0]
    weight = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.2).requires_grad_()
    codec = formats.of(name).weight
    codec.train(weight, started(codec, layer_of(shape, name))).sum().backward()
    assert weight.grad is not None and torch.isfinite(weight.grad).all() and weight.grad.abs().sum() > 0


@every_format
@pytest.mark.parametrize("low", [-3.0, 0.0, 0.5])
def test_stored_activations_are_what_training_felt(name: str, low: float) -> None:
    codec = formats.of(name).activation
    if codec is None:
        assert formats.of(name).arithmetic == "float"
        return
    rng = np.random.default_rng(0)
    x = rng.uniform(low, 4.0, (3, 8, 6, 5)).astype(np.float32)
    params = started(codec, layer_of((4, 8, 3, 3), name))
    felt = codec.train(torch.from_numpy(x.copy()), params, 1.0).numpy()
    made = codec.encode(x, {**arrays(params), **codec.observe(x)})
    assert all(array.dtype.itemsize == 1 for key, array in made.items() if key != "scale")
    np.testing.assert_array_equal(codec.decode(made, x.shape), felt)


@every_format
def test_integer_weights_stay_within_the_bits_that_a_processor_multiplies_exactly(name: str) -> None:
    number = formats.of(name)
    if number.arithmetic != "integer":
        return
    for bits in (8, 7):
        made = number.weight.encode(folded(SHAPES[0], 1), {}, bits)
        assert made["weight"].dtype == np.int8 and made["weight_scale"].dtype == np.float32
        assert made["weight_scale"].shape == (SHAPES[0][0],)
        assert int(np.abs(made["weight"].astype(int)).max()) <= 2 ** (bits - 1) - 1


@every_format
def test_a_format_says_where_networks_that_cannot_have_it_at_their_ends_begin_and_end(name: str) -> None:
    assert formats.of(name).ends
    assert all(end in formats.of(end).ends for end in formats.of(name).ends)


def test_formats_are_listed_by_precision_and_each_once() -> None:
    assert formats.ordered(["w1a1", "int8", "fp32", "int8"]) == ("fp32", "int8", "w1a1")
    assert set(formats.names()) == set(find.names("formats"))
    with pytest.raises(HwnasError, match="nearest: int8"):
        formats.of("int9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arithmetic": "quaternions"}, "arithmetic must be one of"),
        ({"exchange": "float32"}, "integers are uint8"),
        ({"activation": None}, "activation=None"),
        ({"suffix": "../../elsewhere"}, "must fit into a file's name"),
    ],
)
def test_a_format_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(HwnasError, match=message):
        replace(formats.of("int8"), **changes)  # type: ignore[arg-type]
