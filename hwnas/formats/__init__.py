"""Formats: how numbers are stored, exchanged and multiplied. A format is a file that defines `format`, a `Format`.

    fp32   float32 weights, float sums        int8   uint8 x int8, integer sums        w1a1   signs x signs, counted

The file's name is the format's name, in run files (`precisions: [int8]`), tables and architectures. Nothing else may
know a name: what a layer, a block, a space or an engine does follows from `arithmetic`, `exchange` and `family`.
A format of your own is such a file in a package's `formats` folder (hwnas/find.py).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, get_args

import numpy as np

from hwnas import find
from hwnas.errors import HwnasError
from hwnas.network import Layer, Shape

if TYPE_CHECKING:
    import torch

__all__ = [
    "ActivationCodec",
    "Arithmetic",
    "Arrays",
    "Codec",
    "Exchange",
    "Format",
    "Parameter",
    "WeightCodec",
    "at_progress",
    "element_bytes",
    "names",
    "of",
    "ordered",
    "training_progress",
]

THING = "format"  # what a format's file defines

Arrays = Mapping[str, np.ndarray]
Arithmetic = Literal["float", "integer", "signs"]
Exchange = Literal["float32", "uint8"]


class Parameter(NamedTuple):
    """What a codec learns besides the tensor itself (a threshold, a step): its shape, and the value it starts from."""

    shape: Shape
    start: float


class Codec(Protocol):
    """How a tensor is coded: what training feels of it (torch) and what ships (numpy), from one declaration.

    Law, on any folded tensor x with parameters p: `decode(encode(x, p), x.shape)` and `train(x, p, 1.0)` are equal
    numbers, bit for bit (a zero has no sign); on activations with `observe(x)` among the parameters.
    Batch norm is folded into weights, so a parameter must mean the same for w and for w times a factor a channel.
    """

    def parameters(self, layer: Layer) -> dict[str, Parameter]:
        """What is learnt besides, by short name; often nothing."""
        ...

    def train(self, x: torch.Tensor, params: Mapping[str, torch.Tensor], progress: float = 1.0) -> torch.Tensor:
        """`x` as its codes stand for it, float32 of the same shape, with a surrogate gradient. `progress` is the share
        of the training that is done, in [0, 1), for codecs that harden slowly; 1.0 where nothing is being trained."""
        ...

    def decode(self, arrays: Arrays, shape: Shape) -> np.ndarray:
        """The float32 values of this shape that the arrays of `encode` stand for."""
        ...


class WeightCodec(Codec, Protocol):
    """Of weights, which `encode` sees whole."""

    def encode(self, x: np.ndarray, params: Arrays, most_bits: int = 8) -> dict[str, np.ndarray]:
        """What ships of float32 `x` (O, ...). No integer code is wider than `most_bits`: some processors multiply
        7-bit weights exactly and 8-bit ones not (the law is of 8)."""
        ...

    def stored_bytes(self, shape: Shape) -> int:
        """Bytes of the arrays of `encode`, for a tensor of this shape."""
        ...


class ActivationCodec(Codec, Protocol):
    """Of activations, whose range is settled before `encode` sees them. Shapes are (N, ...)."""

    def observe(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What `encode` must be told besides, from values that span the range: `scale` and `zero_point` in integer
        formats, nothing for signs."""
        ...

    def encode(self, x: np.ndarray, params: Arrays) -> dict[str, np.ndarray]:
        """The codes of float32 `x`, and what `decode` needs to read them."""
        ...


@dataclass(frozen=True)
class Format:
    """A number format. Where a layer has no form for its `arithmetic`, its block refuses the format.

    `arithmetic`  what is multiplied: "float" (the weight's codec gives `weight` float32 or float16, as it ships),
                  "integer" (`weight` int8 and `weight_scale` float32 a channel) or "signs" (`weight` packed bits, in
                  convolutions alone; the rest of a block is float).
    `activation`  the codec of what "integer" layers give and of what "signs" convolutions read; None for "float".
    `family`      formats of one family share latent weights in a supernet.
    `exchange`    the type in which a block's tensors reach its neighbours; where it changes, a conversion stands.
    `bits`        of a weight: formats are listed by it, the most precise first.
    `ends`        in which formats a network's stem and head may be where its blocks are of this one.
    `suffix`      of the files that ship: `model.<suffix>.onnx`.
    """

    weight: WeightCodec
    activation: ActivationCodec | None
    arithmetic: Arithmetic
    family: str
    exchange: Exchange
    bits: float
    ends: tuple[str, ...]
    suffix: str

    def __post_init__(self) -> None:
        if self.arithmetic not in get_args(Arithmetic):
            raise HwnasError(f"a format's arithmetic must be one of {get_args(Arithmetic)}, got {self.arithmetic!r}")
        if self.exchange != ("uint8" if self.arithmetic == "integer" else "float32"):
            raise HwnasError(f"{self.arithmetic} blocks cannot exchange {self.exchange!r}: integers are uint8")
        if (self.activation is None) != (self.arithmetic == "float"):
            raise HwnasError(f"a format of {self.arithmetic} arithmetic and activation={self.activation} is none")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.suffix):
            raise HwnasError(f"a format's suffix must fit into a file's name, got {self.suffix!r}")
        for codec in (self.weight, self.activation):
            if codec is not None and not _takes_progress(codec):
                raise HwnasError(
                    f"train of a format's codec {type(codec).__name__} must take (x, params, progress)",
                    hint="progress: float = 1.0, which it may ignore",
                )


def _takes_progress(codec: Codec) -> bool:
    try:
        inspect.signature(codec.train).bind(None, {}, 1.0)
    except TypeError:
        return False
    return True


# Of the step that is being trained, for the codecs of its layers. A net's call has no argument for it: rules call nets
# with inputs and a selection, and most formats do not ask. A context variable is of one thread (a new one starts at 1).
_PROGRESS: ContextVar[float] = ContextVar("the share of the training that is done", default=1.0)


def training_progress() -> float:
    """What `Codec.train` is told here and now: the training loop's progress within a step, 1.0 anywhere else.

    Each training counts from 0: of the supernet, and of a winner that trains on alone, which hardens again from its
    start."""
    return _PROGRESS.get()


@contextmanager
def at_progress(progress: float) -> Iterator[None]:
    """Layers that run inside, in this thread, are at this share of the training."""
    before = _PROGRESS.set(progress)
    try:
        yield
    finally:
        _PROGRESS.reset(before)


@lru_cache(maxsize=64)
def of(name: str) -> Format:
    """The format of a name; HwnasError names the nearest where there is none, or says what its file lacks."""
    found = find.value("formats", name, "format")
    if not isinstance(found, Format):
        raise HwnasError(f"{find.file('formats', name)}: format must be a Format, got {type(found).__name__}")
    return found


def names() -> tuple[str, ...]:
    """Every format, the most precise first."""
    return ordered(find.names("formats"))


def ordered(some: Iterable[str]) -> tuple[str, ...]:
    """These formats, each once, the most precise first."""
    return tuple(sorted(set(some), key=lambda name: (-of(name).bits, name)))


def element_bytes(exchange: Exchange) -> int:
    """Bytes of one value that crosses between blocks."""
    return np.dtype(exchange).itemsize
