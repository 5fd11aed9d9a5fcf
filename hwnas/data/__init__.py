"""Data sets. Images are kept as they were given (uint8, memory-mapped where they are many), floats made by the batch.

A source (one file of `sources/`) gives a `Raw`, which `prepare` checks, splits and makes `Images` of, or a `Data` of
any other kind (hwnas/protocols.py). The training loop owns order, epoch and step: `Data.batch(split, indices, augment)`
gives the examples it asks for and remembers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hwnas.data.pixels import IN_MEMORY, checked, content_digest, statistics
from hwnas.data.splits import SPLITS, balanced, placed, stratified
from hwnas.errors import HwnasError
from hwnas.network import INPUT, Port
from hwnas.paths import digest
from hwnas.plug import HWNAS_ALONE, Trust, bind, resolve
from hwnas.protocols import Batch, Batches, Data, Examples

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Augment", "Data", "Images", "Raw", "balanced", "load_data", "prepare"]

Augment = Callable[["Tensor"], "Tensor"]  # normalised images float32 (n, C, H, W) to images of the same shape


@dataclass(frozen=True)
class Raw:
    """What a source gives: images (N, C, H, W), (N, H, W, C) or (N, H, W) of any number type, labels (N,), class names.

    `parts` marks each image 0, 1, 2 (training, validation, test), or is None. `layout` is read from the shape unless
    given. Arrays may be memory-mapped; they are never copied whole. `notes` are lines for the person who runs this.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    parts: np.ndarray | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Images:
    """Classified images, a Data. `pixels` (N, H, W, C) and `labels` int64 (N,) hold all; `places` says which are whose.

    `mean` and `std` (C,) are the training split's, in the units of the original pixels; they travel into the manifest,
    because a model without preprocessing takes normalised images.
    """

    name: str
    classes: tuple[str, ...]
    pixels: np.ndarray
    labels: np.ndarray
    places: Mapping[str, np.ndarray]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, Port]:
        """One image (C, H, W)."""
        height, width, channels = self.pixels.shape[1:]
        return {INPUT: Port((channels, height, width))}

    @property
    def mapped(self) -> bool:
        """Whether the pixels are read from a file as they are asked for: another process then hides the waiting."""
        return self.pixels.nbytes > IN_MEMORY

    @property
    def facts(self) -> dict[str, Any]:
        """What a search space needs to know: in_channels, classes, image_size (H, W)."""
        height, width, channels = self.pixels.shape[1:]
        return {"in_channels": channels, "classes": len(self.classes), "image_size": (height, width)}

    def sizes(self) -> dict[str, int]:
        """Images a split: train, validation, test."""
        return {split: len(where) for split, where in self.places.items()}

    def targets(self, split: str) -> np.ndarray:
        """The labels of a split, int64 (n,)."""
        return self.labels[self._places(split)]

    def batch(self, split: str, indices: np.ndarray | slice, augment: Augment | None = None) -> Batch:
        """Images `indices` of a split as normalised float32 (n, C, H, W) with their labels, `augment` applied last."""
        import torch

        where = self._places(split)[indices]
        # Pixels lie (H, W, C), so what torch sees as (C, H, W) is in its channels-last order without a copy.
        images = torch.from_numpy(np.ascontiguousarray(self.pixels[where])).permute(0, 3, 1, 2).to(torch.float32)
        mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (self.mean, self.std))
        images.sub_(mean).div_(std)  # in place: picking by index has made a copy
        return Batch({INPUT: images if augment is None else augment(images)}, torch.from_numpy(self.labels[where]))

    def raw(self, split: str, indices: np.ndarray | slice) -> np.ndarray:
        """The same images as they were given, uint8 (n, H, W, C). HwnasError where the pixels are real numbers."""
        if self.pixels.dtype != np.uint8:
            raise HwnasError(
                f"data {self.name} holds {self.pixels.dtype} values, and raw images are whole numbers from 0 to 255",
                hint="give uint8 images",
            )
        return np.ascontiguousarray(self.pixels[self._places(split)[indices]])

    @cached_property
    def digest(self) -> str:
        """16 digits over every pixel, label and split; computed once, for a large file once and for all."""
        marks = [digest(np.ascontiguousarray(self.places[split]).tobytes()) for split in SPLITS]
        return digest([content_digest(self.pixels), digest(self.labels.tobytes()), marks, list(self.classes)])

    def _places(self, split: str) -> np.ndarray:
        if split not in self.places:
            raise HwnasError(f"data has no split {split!r}", hint=f"it has {', '.join(self.places)}")
        return self.places[split]


def load_data(settings: Mapping[str, Any], trust: Trust = HWNAS_ALONE) -> Data:
    """The data set a run file's `data:` section names: `use: digits | npz | folder | audio` and its keys.

    `use` may also lead where `trust` allows (see hwnas/plug.py), to a torch Dataset or a function annotated to return
    one, a Data or (images, labels). Raises HwnasError with the offending file or fact: a missing path, fewer than two
    classes, NaN pixels, too few images a class.
    """
    from hwnas.data.foreign import as_raw

    settings = dict(settings)
    use = settings.pop("use", None)
    if use is None:
        raise HwnasError("data: 'use' must name a data set", hint="digits, npz, folder or package.module:Dataset")
    function = resolve(use, "data.sources", trust, (Raw, tuple, Examples, Batches))
    loaded = _made(function, settings, f"data ({use})")
    if isinstance(loaded, Batches):
        return _checked(loaded, use)
    return prepare(loaded if isinstance(loaded, Raw) else as_raw(loaded, use), *_split_settings(settings))


def _made(function: Callable[..., Any], settings: Mapping[str, Any], where: str) -> Any:
    """What a source gives. How to split is for the source where it takes such keys, else for `prepare`."""
    seed, shares = _split_settings(settings)
    own = {name: value for name, value in settings.items() if name not in SPLITTING}
    return bind(function, own, {"split_seed": seed, "shares": shares}, where)


SPLITTING = ("split_seed", "shares")


def _split_settings(settings: Mapping[str, Any]) -> tuple[int, Any]:
    """How a run file wants examples split: a seed, and three shares (training, validation, test)."""
    seed = settings.get("split_seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise HwnasError(f"data: split_seed must be a whole number of at least 0, got {seed!r}")
    return seed, settings.get("shares", (0.6, 0.2, 0.2))


def _checked(data: Any, use: str) -> Data:
    """A source's own Data, where it has the splits and the ends that training needs."""
    sizes = dict(data.sizes())
    empty = [split for split in SPLITS if not sizes.get(split)]
    if empty:
        raise HwnasError(f"data ({use}): the {empty[0]} split is empty ({sum(sizes.values())} examples in all)")
    if not data.inputs:
        raise HwnasError(f"data ({use}) must name what an example holds: `inputs` is empty")
    checked_data: Data = data
    return checked_data


def prepare(raw: Raw, seed: int = 0, shares: Any = (0.6, 0.2, 0.2)) -> Images:
    """Checks, splits (stratified by class, or as given) and takes the statistics. HwnasError names what is wrong."""
    pixels, labels = checked(raw.name, raw.images, raw.labels, raw.layout)
    parts = raw.parts if raw.parts is not None else stratified(labels, seed, shares)
    places = placed(parts)
    for split, where in places.items():
        if len(where) == 0:
            raise HwnasError(
                f"data {raw.name}: the {split} split is empty ({len(labels)} images in all)", hint="give more images"
            )
    if len(np.unique(labels[places["train"]])) < 2:
        raise HwnasError(f"data {raw.name}: the training split has one class", hint="a classifier needs at least two")
    mean, std = statistics(pixels, places["train"])
    return Images(raw.name, raw.classes, pixels, labels, places, mean, std, raw.notes)
