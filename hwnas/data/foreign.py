"""What a user's own function gives, as a Raw: (images, labels), or a torch Dataset read item by item."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwnas.data import Raw, cache
from hwnas.data.pixels import IN_MEMORY
from hwnas.errors import HwnasError


def as_raw(loaded: Any, use: str) -> Raw:
    """(images, labels), or anything with __len__ and __getitem__ giving (image, label), such as a torch Dataset.

    A memory-mapped array stays where it is; a Dataset of more than 256 MiB is read into a file of this process's own.
    """
    try:
        if isinstance(loaded, tuple) and len(loaded) == 2:
            images, labels = np.asanyarray(loaded[0]), np.asarray(loaded[1])
        else:
            images, labels = _read(loaded)
        classes = tuple(str(c) for c in np.unique(labels))
    except (TypeError, IndexError, ValueError, KeyError, AttributeError) as problem:
        raise HwnasError(f"data ({use}) must give (images, labels) or a Dataset of (image, label): {problem}") from None
    return Raw(use, images, labels, classes)


def _read(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    count = len(dataset)
    if not count:
        raise ValueError("it is empty")
    first = np.asarray(dataset[0][0])
    shape = (count, *first.shape)
    large = first.nbytes * count > IN_MEMORY
    images = cache.scratch(shape, first.dtype) if large else np.empty(shape, first.dtype)
    labels = np.empty(count, dtype=np.int64)
    for i in range(count):
        image, label = dataset[i]
        image = np.asarray(image)
        if (image.shape, image.dtype) != (first.shape, first.dtype):
            what = f"image 0 is {first.dtype} {first.shape} and image {i} is {image.dtype} {image.shape}"
            raise ValueError(f"{what}; give them one shape and type")
        images[i], labels[i] = image, int(label)
    return images, labels
