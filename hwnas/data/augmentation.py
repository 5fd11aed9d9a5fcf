"""Random shifts and flips of one batch, drawn beforehand: the same images whichever process makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Augmentation:
    """An `Augment`. For each image how many pixels it moves down and right (n, 2), and whether it is mirrored (n,)."""

    shifts: np.ndarray | None
    mirrored: np.ndarray | None

    def __call__(self, images: Tensor) -> Tensor:
        """Images (n, C, H, W); what a shift uncovers is zero."""
        import torch

        if self.shifts is not None and self.shifts.any():
            moved = torch.zeros_like(images)
            height, width = images.shape[-2:]
            moves, which = np.unique(self.shifts, axis=0, return_inverse=True)
            for i, (down, right) in enumerate(moves.tolist()):  # images that move alike move together
                some = torch.from_numpy(np.flatnonzero(which.ravel() == i))
                rows, columns = _overlap(down, height), _overlap(right, width)
                moved[some, :, rows[1], columns[1]] = images[some, :, rows[0], columns[0]]
            images = moved
        if self.mirrored is not None:
            images = torch.where(torch.from_numpy(self.mirrored)[:, None, None, None], images.flip(-1), images)
        return images

    def share(self, part: slice) -> Augmentation:
        """What falls to some of the images."""
        return Augmentation(*(None if held is None else held[part] for held in (self.shifts, self.mirrored)))


def _overlap(by: int, extent: int) -> tuple[slice, slice]:
    """Where the kept rows lie before and after a move, also where it is longer than the image."""
    kept = max(0, extent - abs(by))
    source, target = max(0, -by), max(0, by)
    return slice(source, source + kept), slice(target, target + kept)


def drawn(count: int, shift: int, flip: bool, seed: tuple[int, ...]) -> Augmentation | None:
    """The augmentation of one batch of `count` images from its own seed; None where nothing is asked for."""
    if not shift and not flip:
        return None
    rng = np.random.default_rng(seed)
    return Augmentation(
        rng.integers(-shift, shift + 1, (count, 2)) if shift else None, rng.random(count) < 0.5 if flip else None
    )
