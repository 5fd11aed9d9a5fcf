"""audio: an .npz of clips of one length, `samples` (N, T) of int16 or real numbers, and `labels` (N,)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.data.archive import arrays_of
from hwnas.data.pixels import IN_MEMORY, content_digest, pieces
from hwnas.data.splits import SPLITS, checked_parts, placed, stratified
from hwnas.errors import HwnasError
from hwnas.network import INPUT, Port
from hwnas.paths import digest
from hwnas.protocols import Batch

FULL_SCALE = {"int16": 32768.0, "int8": 128.0}  # what a whole number is divided by: samples are then in [-1, 1)


@dataclass(frozen=True, eq=False)
class Clips:
    """Classified clips, a Data. `samples` (N, T) as they were given, `labels` int64 (N,); `rate` in Hz where known."""

    name: str
    classes: tuple[str, ...]
    samples: np.ndarray
    labels: np.ndarray
    places: Mapping[str, np.ndarray]
    rate: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, Port]:
        """One channel of T samples."""
        return {INPUT: Port((1, self.samples.shape[1]))}

    @property
    def facts(self) -> dict[str, Any]:
        """in_channels (1), classes, samples (T) and, where it is known, rate in Hz."""
        known = {"in_channels": 1, "classes": len(self.classes), "samples": int(self.samples.shape[1])}
        return known if self.rate is None else {**known, "rate": self.rate}

    @property
    def mapped(self) -> bool:
        """Whether samples are read from a file as they are asked for."""
        return self.samples.nbytes > IN_MEMORY

    def sizes(self) -> dict[str, int]:
        return {split: len(where) for split, where in self.places.items()}

    def targets(self, split: str) -> np.ndarray:
        """The labels of a split, int64 (n,)."""
        return self.labels[self._places(split)]

    def batch(self, split: str, indices: np.ndarray | slice, augment: Any = None) -> Batch:
        """Clips `indices` of a split as float32 (n, 1, T), whole numbers as shares of full scale, and their labels."""
        import torch

        where = self._places(split)[indices]
        held = torch.from_numpy(np.ascontiguousarray(self.samples[where]))[:, None].to(torch.float32)
        scaled = held / FULL_SCALE.get(self.samples.dtype.name, 1.0)
        return Batch({INPUT: scaled if augment is None else augment(scaled)}, torch.from_numpy(self.labels[where]))

    @cached_property
    def digest(self) -> str:
        """16 digits over every sample, label and split."""
        marks = [digest(np.ascontiguousarray(self.places[split]).tobytes()) for split in SPLITS]
        labels = digest(self.labels.tobytes())
        return digest([content_digest(self.samples), labels, marks, list(self.classes), self.rate])

    def _places(self, split: str) -> np.ndarray:
        if split not in self.places:
            raise HwnasError(f"data has no split {split!r}", hint=f"it has {', '.join(self.places)}")
        return self.places[split]


def audio(
    path: str,
    samples: str = "samples",
    labels: str = "labels",
    part: str = "part",
    rate: int | None = None,
    split_seed: int = 0,
    shares: Any = (0.6, 0.2, 0.2),
) -> Clips:
    """Clips of a NumPy archive. `part` 0, 1, 2 marks training, validation, test; absent, a split is made.

    `rate` is in Hz. Clips of more than 256 MiB are unpacked once into the cache and mapped from there.
    """
    held, name = arrays_of(path, (samples, labels), (part,)), Path(path).stem
    clips, kinds, where = held[samples], held[labels], f"data {name}"
    if clips.ndim != 2 or kinds.ndim != 1 or len(clips) != len(kinds) or 0 in clips.shape:
        raise HwnasError(f"{where}: samples must be (N, T) with N labels, got {clips.shape} and {kinds.shape}")
    if clips.dtype.kind != "f" and clips.dtype.name not in FULL_SCALE:
        raise HwnasError(f"{where}: samples must be {' or '.join(FULL_SCALE)} or real numbers, got {clips.dtype}")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int) or rate < 1):
        raise HwnasError(f"{where}: rate must be a whole number of Hz, got {rate!r}")
    _refuse_infinite(where, clips)
    names, codes = np.unique(kinds, return_inverse=True)
    if len(names) < 2:
        raise HwnasError(f"{where}: one class only ({len(kinds)} clips)", hint="a classifier needs at least two")
    given = checked_parts(held.get(part), kinds, f"{path}: {part!r}", "clip")
    parts = given if given is not None else stratified(codes, split_seed, shares)
    return Clips(name, tuple(map(str, names)), clips, codes.astype(np.int64), placed(parts), rate)


def _refuse_infinite(where: str, clips: np.ndarray) -> None:
    if clips.dtype.kind == "f":
        bad = np.concatenate([~np.isfinite(piece).all(axis=1) for piece in pieces(clips)])
        if bad.any():
            first = int(bad.argmax())
            raise HwnasError(
                f"{where}: {int(bad.sum())} clips have NaN or infinite samples, the first at index {first}",
                hint="remove or repair them",
            )
