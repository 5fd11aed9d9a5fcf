"""Which examples each training step sees, drawn from (seed, epoch, step), and the loading of them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from torch.utils.data import DataLoader

from hwnas.data import balanced
from hwnas.data.augmentation import Augmentation, drawn
from hwnas.data.splits import labels_of
from hwnas.errors import HwnasError
from hwnas.network import Port, elements
from hwnas.processes import device, world
from hwnas.protocols import Batch, Data

if TYPE_CHECKING:
    from hwnas.train import Schedule


@dataclass(frozen=True)
class Draw:
    """This rank's share of one batch: which training examples, how they are augmented, and the held-out batch that
    goes with it."""

    step: int
    indices: np.ndarray
    augment: Augmentation | None
    held_out: Draw | None = None


Halves = tuple[np.ndarray, np.ndarray]


def halves(data: Data, seed: int) -> Halves:
    """The training split in two halves of equal size, int64 (n // 2,) each: to train on, and to hold out. Every class
    gives as many examples to either as it can, and one that is left over is in neither."""
    drawn_order = balanced(data, "train", data.sizes()["train"], seed)
    count = len(drawn_order) // 2
    if not count:
        raise HwnasError(f"data {data.name}: {len(drawn_order)} training examples cannot be shared by two halves")
    by_class = drawn_order[np.argsort(labels_of(data, "train")[drawn_order], kind="stable")]
    pairs = by_class[: 2 * count].reshape(count, 2)
    return pairs[:, 0], pairs[:, 1]


def draws(count: int, schedule: Schedule, first_epoch: int = 0, split: Halves | None = None) -> Iterator[Draw]:
    """Every batch of `count` examples from `first_epoch` on, shuffled by (seed, epoch); a smaller last one is dropped.

    With `split` the batches are of its first half, and each comes with one of the second, shuffled by itself.
    """
    per_epoch = steps_per_epoch(count, schedule)
    for epoch in range(first_epoch, schedule.epochs):
        order = np.random.default_rng((schedule.seed, epoch)).permutation(count)
        held = np.random.default_rng((schedule.seed, epoch, 0, 1)).permutation(count) if split else order
        for i in range(per_epoch):
            step, seed = epoch * per_epoch + i, (schedule.seed, epoch, i)
            draw = _draw(order, schedule, i, step, seed)
            if split is not None:
                second = _draw(held, schedule, i, step, (*seed, 1))
                second = replace(second, indices=split[1][second.indices])
                draw = replace(draw, indices=split[0][draw.indices], held_out=second)
            yield draw


def _draw(order: np.ndarray, schedule: Schedule, i: int, step: int, seed: tuple[int, ...]) -> Draw:
    """This rank's share of the i-th batch of an epoch's order."""
    size = min(schedule.batch_size, len(order))
    rank, ranks = world()
    if size % ranks:
        raise HwnasError(f"batch_size {size} cannot be shared by {ranks} processes", hint="make it a multiple of them")
    share = slice(rank * size // ranks, (rank + 1) * size // ranks)
    augment = drawn(size, schedule.shift, schedule.flip, seed)
    return Draw(step, order[i * size : (i + 1) * size][share], augment.share(share) if augment else None)


class _Fetch:
    """Makes the batch of a draw, in this process or in a worker of torch's DataLoader."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def __getitem__(self, draw: Draw) -> list[dict[str, Any]]:
        """The batch and the held-out one, as mappings: DataLoader pins what lies in them."""
        listed = [draw, *([draw.held_out] if draw.held_out is not None else [])]
        made = [(one.step, self.data.batch("train", one.indices, one.augment)) for one in listed]
        return [{"inputs": dict(b.inputs), "targets": b.targets, "step": step} for step, b in made]


def batches(data: Data, listed: Iterable[Draw], workers: int = 0, total: int | None = None) -> Iterator[Batch]:
    """The batches of some draws, on this process's device. `workers` processes load ahead; with 0 this one does.
    `total` steps make the whole training (None: no progress is told)."""
    fetch = _Fetch(data)
    loaded: Iterable[list[dict[str, Any]]] = (fetch[draw] for draw in listed)
    if workers:
        # fork: a worker shares the mapped pixels, where another start would send it a copy of them.
        loaded = DataLoader(
            fetch, batch_size=None, sampler=listed, num_workers=workers, multiprocessing_context="fork",  # type: ignore[arg-type]
            pin_memory=device().type == "cuda", collate_fn=_as_it_is,
        )  # fmt: skip
    for parts in loaded:
        made = [_moved(part, part["step"] / total if total else 0.0) for part in parts]
        yield replace(made[0], held_out=made[1]) if len(made) > 1 else made[0]


def _moved(part: Mapping[str, Any], progress: float) -> Batch:
    where = device()
    inputs = {name: value.to(where, non_blocking=True) for name, value in part["inputs"].items()}
    return Batch(inputs, part["targets"].to(where, non_blocking=True), part["step"], progress)


def _as_it_is(batch: Any) -> Any:
    return batch


@runtime_checkable
class OnDisk(Protocol):
    """Data that may be read from a file as they are asked for (`mapped`): another process then hides the waiting."""

    @property
    def mapped(self) -> bool: ...


HELD_BYTES = 8 << 20  # a batch of floats below this is made in under a millisecond: no process pays for itself


def workers_for(data: Data, schedule: Schedule) -> int:
    """Loading processes that pay: none for small batches or on a CPU that trains from memory; else up to four.

    What a worker hides is waiting for the disk and, beside a GPU, the making of floats. Beside a CPU that trains it
    can hide the disk alone, and one is enough.
    """
    example = sum(elements(port.shape) for port in data.inputs.values())
    if schedule.batch_size * example * 4 < HELD_BYTES:
        return 0
    if device().type == "cuda":
        return max(1, min(4, (os.cpu_count() or 1) - 1))
    return int(isinstance(data, OnDisk) and data.mapped)


def steps_per_epoch(count: int, schedule: Schedule) -> int:
    """Whole batches in `count` examples, at least one."""
    return max(1, count // min(schedule.batch_size, count))


PLACES_AT_ONCE = 1 << 22  # pixels, samples or tokens: 64 images of 224x224 keep a net's largest layer in 300 MB


def portions(data: Data, indices: np.ndarray) -> Iterator[np.ndarray]:
    """Indices in portions of at most 512 examples that a net takes at once without a gigabyte of activations; of equal
    size but for one example, since batch norm learns little from a last portion of one."""
    places = max(_places(port) for port in data.inputs.values())
    size = max(1, min(512, PLACES_AT_ONCE // places))
    yield from np.array_split(indices, max(1, -(-len(indices) // size)))


def _places(port: Port) -> int:
    """Positions of one channel: pixels of (C, H, W), samples of (C, T) or (T,)."""
    return max(1, math.prod(port.shape[1:] if len(port.shape) > 1 else port.shape))


def some_images(data: Data, count: int, seed: int) -> Iterator[Any]:
    """What a net is given of `count` training examples, drawn class by class, in portions (to recalibrate it)."""
    for some in portions(data, balanced(data, "train", count, seed)):
        yield data.batch("train", some).given
