"""Data sets: images float32 and labels, split in three and checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.paths import digest
from hwnas.plug import HWNAS_ALONE, Trust, bind, resolve
from hwnas.protocols import Examples


@dataclass(frozen=True)
class Split:
    """Images float32 (N, C, H, W) and labels int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """A checked data set, normalised by the training split's mean and standard deviation per channel.

    `mean` and `std` (C,) are in the units of the original pixels; they travel into the manifest, because the exported
    model takes normalised images.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        return int(self.train.images.shape[1])

    @property
    def digest(self) -> str:
        parts = [a for s in (self.train, self.validation, self.test) for a in (s.images, s.labels)]
        return digest("".join(digest(np.ascontiguousarray(a).tobytes()) for a in parts))


def load_data(settings: Mapping[str, Any], trust: Trust = HWNAS_ALONE) -> Data:
    """The data set a run file's `data:` section names: `use: digits | npz | folder | torch_dataset` and its keys.

    `use` may also lead where `trust` allows (see hwnas/plug.py), to a torch Dataset or a function annotated to return
    one or (images, labels). Raises HwnasError with
    the offending file or fact: a missing path, fewer than two classes, NaN pixels, too few images a class.
    """
    settings = dict(settings)
    use = settings.pop("use", None)
    if use is None:
        raise HwnasError("data: 'use' must name a data set", hint="digits, npz, folder or package.module:Dataset")
    seed = settings.pop("split_seed", 0)
    shares = settings.pop("shares", (0.6, 0.2, 0.2))
    source = resolve(use, "data.sources", trust, (Raw, tuple, Examples))
    loaded = bind(source, settings, {}, f"data ({use})")
    raw = loaded if isinstance(loaded, Raw) else _as_raw(loaded, use)
    return prepare(raw, seed, shares)


@dataclass(frozen=True)
class Raw:
    """What a source gives: all images (N, C, H, W), labels (N,), class names; `parts` marks splits 0, 1, 2, or None."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    parts: np.ndarray | None = None


def _as_raw(loaded: Any, use: str) -> Raw:
    """(images, labels), or anything with __len__ and __getitem__ giving (image, label), such as a torch Dataset."""
    if isinstance(loaded, tuple) and len(loaded) == 2:
        images, labels = np.asarray(loaded[0]), np.asarray(loaded[1])
    else:
        try:
            pairs = [loaded[i] for i in range(len(loaded))]
            images = np.stack([np.asarray(pair[0]) for pair in pairs])
            labels = np.asarray([int(pair[1]) for pair in pairs])
        except (TypeError, IndexError, ValueError, KeyError, AttributeError) as problem:
            raise HwnasError(
                f"data ({use}) must give (images, labels) or a Dataset of (image, label): {problem}"
            ) from None
    return Raw(use, images, labels, tuple(str(c) for c in np.unique(labels)))


def prepare(raw: Raw, seed: int = 0, shares: Any = (0.6, 0.2, 0.2)) -> Data:
    """Checks, splits (stratified by class, or as given) and normalises. Raises HwnasError naming what is wrong."""
    images, labels = checked(raw)
    parts = raw.parts if raw.parts is not None else _stratified(labels, seed, shares)
    splits = [(images[parts == i], labels[parts == i]) for i in range(3)]
    for (_, y), name in zip(splits, ("training", "validation", "test"), strict=True):
        if len(y) == 0:
            raise HwnasError(
                f"data {raw.name}: the {name} split is empty ({len(labels)} images in all)", hint="give more images"
            )
    train = splits[0][0]
    if len(np.unique(splits[0][1])) < 2:
        raise HwnasError(f"data {raw.name}: the training split has one class", hint="a classifier needs at least two")
    mean = train.mean(axis=(0, 2, 3), dtype=np.float64)
    std = np.maximum(train.std(axis=(0, 2, 3), dtype=np.float64), 1e-6)
    scale, offset = std.astype(np.float32)[None, :, None, None], mean.astype(np.float32)[None, :, None, None]
    ready = [Split(np.ascontiguousarray((x - offset) / scale), y) for x, y in splits]
    return Data(raw.name, raw.classes, ready[0], ready[1], ready[2], tuple(map(float, mean)), tuple(map(float, std)))


def checked(raw: Raw) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 (N, C, H, W) and labels int64 0..classes-1, or HwnasError."""
    images, labels = np.asarray(raw.images), np.asarray(raw.labels)
    where = f"data {raw.name}"
    if images.dtype.kind not in "fiub" or labels.dtype.kind not in "iu":
        raise HwnasError(
            f"{where}: images must be numbers and labels whole numbers, got {images.dtype} and {labels.dtype}"
        )
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or len(images) != len(labels):
        raise HwnasError(f"{where}: images must be (N, C, H, W) with N labels, got {images.shape} and {labels.shape}")
    if images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    images = images.astype(np.float32)
    bad = ~np.isfinite(images.reshape(len(images), -1)).all(axis=1)
    if bad.any():
        raise HwnasError(
            f"{where}: {int(bad.sum())} images have NaN or infinite pixels, the first at index {int(bad.argmax())}",
            hint="remove or repair them",
        )
    kinds, codes = np.unique(labels, return_inverse=True)
    if len(kinds) < 2:
        raise HwnasError(f"{where}: one class only ({len(labels)} images)", hint="a classifier needs at least two")
    return images, codes.astype(np.int64)


def _stratified(labels: np.ndarray, seed: int, shares: Any) -> np.ndarray:
    """Part 0, 1 or 2 of every image, each class shared out alike."""
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise HwnasError(f"data: shares must be three positive numbers that sum to 1, got {list(shares)}")
    rng = np.random.default_rng(seed)
    parts = np.zeros(len(labels), dtype=np.int64)
    for kind in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == kind))
        if len(members) < 3:
            raise HwnasError(
                f"data: class {kind} has {len(members)} images",
                hint="each class needs at least three: one to train, validate, test",
            )
        first = max(1, min(len(members) - 2, round(shares[0] * len(members))))
        second = max(first + 1, min(len(members) - 1, round((shares[0] + shares[1]) * len(members))))
        parts[members[first:second]] = 1
        parts[members[second:]] = 2
    return parts


def linear_baseline(data: Data) -> float:
    """Test accuracy of multinomial logistic regression on the same pixels: what a net must clearly beat."""
    import warnings

    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence: a baseline may stop at its iteration limit
        model = LogisticRegression(max_iter=300).fit(data.train.images.reshape(len(data.train), -1), data.train.labels)
    return float(model.score(data.test.images.reshape(len(data.test), -1), data.test.labels))
