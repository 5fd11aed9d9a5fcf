"""A model's inputs and outputs, and how several of them lie in one block of memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import HwnasError

ELEMENT_BYTES = {"float32": 4, "uint8": 1, "int8": 1, "int32": 4, "int64": 8}


@dataclass(frozen=True)
class End:
    """One input or output of a model: its ONNX name and shape, the value that it is, and its element type.

    8-bit codes have a `scale` and a `zero_point`; `step` is one code of an output that is dequantised, else 0. `offset`
    is where it starts, in bytes, in the block that holds all inputs, or all outputs.
    """

    name: str
    value: str
    shape: tuple[int, ...]
    type: str = "float32"
    scale: float | None = None
    zero_point: int | None = None
    step: float = 0.0
    offset: int = 0
    #: whole numbers that are places in a table must be below this; 0 where they may be any
    below: int = 0

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * ELEMENT_BYTES[self.type]

    @property
    def sample(self) -> tuple[int, ...]:
        """The shape without its batch of 1."""
        return self.shape[1:] if self.shape[0] == 1 else self.shape

    def record(self, named: bool) -> dict[str, Any]:
        """How a manifest says it; `named` where there are several."""
        found: dict[str, Any] = {"name": self.name} if named else {}
        found |= {"shape": list(self.shape), "type": self.type}
        found |= {"below": self.below} if self.below else {}
        return found if self.scale is None else found | {"scale": self.scale, "zero_point": self.zero_point}


def records(inputs: Sequence[End], outputs: Sequence[End]) -> dict[str, Any]:
    """The ends as a manifest says them: `input` and `output`, or lists of both where `are_several`."""
    if not are_several(inputs, outputs):
        return {"input": inputs[0].record(False), "output": outputs[0].record(False)}
    return {"inputs": [end.record(True) for end in inputs], "outputs": [end.record(True) for end in outputs]}


def are_several(inputs: Sequence[End], outputs: Sequence[End]) -> bool:
    """Whether there is more than one input and one output [1, ..]."""
    ends = (*inputs, *outputs)
    return len(ends) > 2 or any(len(end.shape) < 2 or end.shape[0] != 1 for end in ends)


def ends_of(manifest: Mapping[str, Any], which: str) -> tuple[End, ...]:
    """The ends of a checked manifest; `which` is "input" or "output"."""
    listed = manifest[f"{which}s"] if f"{which}s" in manifest else [manifest[which]]
    found = [
        End(
            str(item.get("name", which)),
            "",
            tuple(item["shape"]),
            item["type"],
            item.get("scale"),
            item.get("zero_point"),
            below=item.get("below", 0),
        )
        for item in listed
    ]
    return laid_out(found, manifest["alignment"])


def laid_out(ends: Sequence[End], alignment: int) -> tuple[End, ...]:
    """The ends one after the other in one block, each at a multiple of `alignment`."""
    found, offset = list[End](), 0
    for end in ends:
        found.append(replace(end, offset=offset))
        offset += -(-end.bytes // alignment) * alignment
    return tuple(found)


def block_bytes(ends: Sequence[End]) -> int:
    """Bytes of the block that holds them."""
    return ends[-1].offset + ends[-1].bytes


def batches(ends: Sequence[End], given: Any) -> tuple[NDArray[Any], ...]:
    """One array [N, *sample] an input, in the model's types; HwnasError where names, shapes or types do not fit.

    `given` is the array of the only input, a tuple or list of one array an input in order, or a dict by name.
    """
    arrays = ordered(ends, given)
    found = tuple(_checked(end, array) for end, array in zip(ends, arrays, strict=True))
    if len({len(array) for array in found}) > 1:
        raise HwnasError(f"all inputs must have one batch size, got {[len(array) for array in found]}")
    return found


def ordered(ends: Sequence[End], given: Any) -> list[Any]:
    """What was given for each input, in their order."""
    if isinstance(given, Mapping):
        names = [end.name for end in ends]
        if sorted(given) != sorted(names):
            raise HwnasError(f"the inputs must be {', '.join(names)}, got {', '.join(map(str, given))}")
        arrays = [given[name] for name in names]
    else:
        each = isinstance(given, tuple) or (len(ends) > 1 and isinstance(given, list))
        arrays = list(given) if each else [given]
    if len(arrays) != len(ends):
        raise HwnasError(f"the model has {len(ends)} inputs, got {len(arrays)}", hint="a tuple in order, or a dict")
    return arrays


def _checked(end: End, given: Any) -> NDArray[Any]:
    samples = as_samples(given, np.dtype(end.type))
    if end.below and samples.size and not 0 <= samples.min() <= samples.max() < end.below:
        raise HwnasError(f"{end.name} must hold 0 to {end.below - 1}, got {samples.min()} to {samples.max()}")
    if samples.shape[1:] != end.sample or samples.ndim != len(end.sample) + 1:
        raise HwnasError(f"the input must be [N, {', '.join(map(str, end.sample))}], got {list(samples.shape)}")
    return samples


def as_samples(batch: ArrayLike, kind: np.dtype[Any]) -> NDArray[Any]:
    """The batch as a model of this input type takes it. HwnasError where whole numbers are asked for and others are
    given: a cast would turn a normalised image into zeros and ones, or one token into another, without a word."""
    samples = np.asarray(batch)
    if kind == np.uint8 and samples.dtype != np.uint8:
        raise HwnasError(
            f"this model takes raw uint8 pixels [N, H, W, C], got {samples.dtype}",
            hint="its preprocessing is inside: give pixels as they are",
        )
    if kind.kind == "i" and samples.dtype != kind:
        limits = np.iinfo(kind)
        whole = samples.dtype.kind in "iu" and kind.itemsize >= 4
        if not whole or (samples.size and not limits.min <= samples.min() <= samples.max() <= limits.max):
            raise HwnasError(f"this model takes {kind}, got {samples.dtype}", hint="give whole numbers of that type")
    return np.ascontiguousarray(samples, dtype=kind)


def packed(ends: Sequence[End], arrays: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
    """One block [N, bytes] a sample: what a program's --run reads."""
    block = np.zeros((len(arrays[0]), block_bytes(ends)), np.uint8)
    for end, array in zip(ends, arrays, strict=True):
        block[:, end.offset : end.offset + end.bytes] = array.reshape(len(array), -1).view(np.uint8)
    return block


def unpacked(ends: Sequence[End], block: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
    """The arrays [N, *sample] of a block [N, bytes]."""
    return tuple(
        np.ascontiguousarray(block[:, end.offset : end.offset + end.bytes])
        .view(end.type)
        .reshape(len(block), *end.sample)
        for end in ends
    )
