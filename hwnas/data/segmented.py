"""Images of which every pixel has a class: their targets are maps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hwnas.data import Images
from hwnas.data.pixels import statistics
from hwnas.data.splits import SPLITS, placed
from hwnas.errors import HwnasError
from hwnas.paths import digest
from hwnas.protocols import Batch


@dataclass(frozen=True, eq=False)
class Segmented(Images):
    """Images uint8 whose `labels` are maps int64 (N, H, W)."""

    @classmethod
    def of(
        cls,
        name: str,
        pixels: np.ndarray,
        maps: np.ndarray,
        parts: np.ndarray,
        classes: tuple[str, ...],
        notes: tuple[str, ...] = (),
    ) -> Segmented:
        """With the training split's statistics; `parts` (N,) marks images 0, 1, 2. HwnasError where shapes differ, or a
        class has no name."""
        if pixels.ndim != 4 or maps.shape != pixels.shape[:3] or parts.shape != pixels.shape[:1]:
            raise HwnasError(
                f"data {name}: images (N, H, W, C), maps (N, H, W) and parts (N,) must belong together, got "
                f"{pixels.shape}, {maps.shape} and {parts.shape}"
            )
        if maps.min() < 0 or maps.max() >= len(classes):
            raise HwnasError(f"data {name}: {len(classes)} classes, but its maps hold {maps.min()} to {maps.max()}")
        places = placed(parts)
        return cls(name, classes, pixels, maps, places, *statistics(pixels, places["train"]), notes)

    def batch(self, split: str, indices: np.ndarray | slice, augment: Any = None) -> Batch:
        """As of any images, targets (n, H, W). HwnasError for `augment`: it would move an image and leave its map."""
        if augment is not None:
            raise HwnasError(
                f"data {self.name} has a class for every pixel: train.shift and train.flip move images alone",
                hint="leave them out",
            )
        return super().batch(split, indices)

    @cached_property
    def digest(self) -> str:
        """16 digits over every pixel, map and split."""
        marks = [digest(np.ascontiguousarray(self.places[split]).tobytes()) for split in SPLITS]
        return digest([digest(self.pixels.tobytes()), digest(self.labels.tobytes()), marks, list(self.classes)])
