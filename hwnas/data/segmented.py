"""Images of which every pixel has a class: a Data whose targets are maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hwnas.data.pixels import statistics
from hwnas.data.splits import SPLITS, placed
from hwnas.errors import HwnasError
from hwnas.network import INPUT, Port
from hwnas.paths import digest
from hwnas.protocols import Batch


@dataclass(frozen=True, eq=False)
class Segmented:
    """`pixels` uint8 (N, H, W, C) and `maps` int64 (N, H, W) hold all; `places` says which are whose. `mean` and `std`
    (C,) are the training pixels'."""

    name: str
    classes: tuple[str, ...]
    pixels: np.ndarray
    maps: np.ndarray
    places: Mapping[str, np.ndarray]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()

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

    @property
    def inputs(self) -> dict[str, Port]:
        """One image (C, H, W)."""
        height, width, channels = self.pixels.shape[1:]
        return {INPUT: Port((channels, height, width))}

    @property
    def facts(self) -> dict[str, Any]:
        """in_channels, classes, image_size (H, W)."""
        height, width, channels = self.pixels.shape[1:]
        return {"in_channels": channels, "classes": len(self.classes), "image_size": (height, width)}

    def sizes(self) -> dict[str, int]:
        return {split: len(where) for split, where in self.places.items()}

    def targets(self, split: str) -> np.ndarray:
        """The maps of a split, int64 (n, H, W)."""
        return self.maps[self._places(split)]

    def batch(self, split: str, indices: np.ndarray | slice, augment: Any = None) -> Batch:
        """Normalised float32 (n, C, H, W) with their maps int64 (n, H, W). HwnasError for `augment`, which would move
        an image and leave its map."""
        import torch

        if augment is not None:
            raise HwnasError(
                f"data {self.name} has a class for every pixel: train.shift and train.flip move images alone",
                hint="leave them out",
            )
        where = self._places(split)[indices]
        images = torch.from_numpy(np.ascontiguousarray(self.pixels[where])).permute(0, 3, 1, 2).to(torch.float32)
        mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (self.mean, self.std))
        return Batch({INPUT: images.sub_(mean).div_(std)}, torch.from_numpy(self.maps[where]))

    @cached_property
    def digest(self) -> str:
        """16 digits over every pixel, map and split."""
        marks = [digest(np.ascontiguousarray(self.places[split]).tobytes()) for split in SPLITS]
        return digest([digest(self.pixels.tobytes()), digest(self.maps.tobytes()), marks, list(self.classes)])

    def _places(self, split: str) -> np.ndarray:
        if split not in self.places:
            raise HwnasError(f"data has no split {split!r}", hint=f"it has {', '.join(self.places)}")
        return self.places[split]
