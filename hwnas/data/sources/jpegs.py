"""jpegs: images as JPEG files one behind another in an .npz: `data` (bytes), `offsets` (N + 1,) and labels `y` (N,)."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.data import Raw, cache
from hwnas.data.splits import in_turns, stratified
from hwnas.errors import HwnasError
from hwnas.paths import digest

VALIDATION = 0.2  # of the training images, class by class, where a file of test images is given


def jpegs(path: str, test: str | None = None, size: int | None = None, count: int | None = None) -> Raw:
    """Every image, uint8 RGB (N, H, W, 3), scaled to `size` x `size` where it is given. Decoded once into the cache.

    `test` is a second file, whose images are the test split; without one a split is made. `count` takes that many of
    each file, drawn class by class. HwnasError where a file is not as described or its images differ in shape.
    """
    for name, value in (("size", size), ("count", count)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise HwnasError(f"data (jpegs): {name} must be a whole number of at least 1, got {value!r}")
    packed = [_packed(Path(file), count) for file in (path, test) if file is not None]
    labels = np.concatenate([found[1] for found in packed])
    images = np.concatenate([_decoded(*found, size) for found in packed])
    parts = None
    if test is not None:
        train = stratified(packed[0][1], 0, (1 - VALIDATION, VALIDATION / 2, VALIDATION / 2))
        parts = np.concatenate([np.minimum(train, 1), np.full(len(packed[1][1]), 2)])
    return Raw(Path(path).stem, images, labels, tuple(str(kind) for kind in np.unique(labels)), parts, "NHWC")


def _packed(path: Path, count: int | None) -> tuple[list[bytes], np.ndarray, str]:
    """The files of the images taken, their labels, and the name of the file they come from."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            data, offsets, labels = arrays["data"].tobytes(), arrays["offsets"], arrays["y"]
    except FileNotFoundError:
        raise HwnasError(f"data file {path} does not exist") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
        raise HwnasError(f"data file {path} does not hold data, offsets and y: {problem}") from None
    whole = offsets.ndim == 1 and len(offsets) == len(labels) + 1
    if not whole or (np.diff(offsets.astype(np.int64)) <= 0).any() or offsets[0] < 0 or offsets[-1] > len(data):
        raise HwnasError(f"{path}: offsets must rise from 0 to the bytes of data, one more than there are labels")
    taken = np.arange(len(labels)) if count is None else np.sort(in_turns(labels, count, 0))
    return [data[offsets[i] : offsets[i + 1]] for i in taken], labels[taken], str(path)


def _decoded(files: list[bytes], labels: np.ndarray, path: str, size: int | None) -> np.ndarray:
    first = _read(files[0], path, 0, size)
    name = digest([digest(b"".join(files)), list(first.shape)])

    def write(target: Path) -> None:
        images: Any = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=(len(files), *first.shape))
        for i, file in enumerate(files):
            image = _read(file, path, i, size)
            if image.shape != first.shape:
                raise HwnasError(f"{path}: image {i} is {image.shape}, the first is {first.shape}", hint="give a size")
            images[i] = image
        images.flush()

    return cache.mapped(f"jpegs-{name}", len(files) * first.size, write)


def _read(file: bytes, path: str, index: int, size: int | None) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file)) as opened:
            image = opened.convert("RGB")
    except Exception as problem:  # decoders of damaged files raise many kinds
        raise HwnasError(f"{path}: image {index} is not readable: {problem}") from None
    return np.asarray(image if size is None else image.resize((size, size), Image.Resampling.BOX))
