"""folder: an image folder, `<class>/<file>`, or `train|val|test/<class>/<file>` when the split is given."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.data import Raw, cache
from hwnas.errors import HwnasError
from hwnas.paths import digest
from hwnas.progress import bar

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
PARTS = {"train": 0, "val": 1, "validation": 1, "test": 2}
LARGEST = 256  # shorter side of decoded images unless `size` says otherwise: what nets of 224 pixels are trained from
AT_ONCE = 256  # pictures handed to the decoding threads together, so that few wait in memory
TURNED = {5, 6, 7, 8}  # values of the orientation tag (274) that swap height and width


def folder(path: str, size: Any = None, grey: bool = False) -> Raw:
    """Every image under `path`, scaled and centre-cropped to one shape, RGB (or one grey channel).

    `size` is the side of a square, or [height, width]. Without it the shape is the images' own; where they differ, the
    median shape and aspect; never above 256 pixels on the shorter side. Decoded once into the cache.
    """
    root = Path(path)
    if not root.is_dir():
        raise HwnasError(f"image folder {path} does not exist")
    files, parts = _listed(root)
    kinds = sorted({file.parent.name for file in files})
    labels = np.array([kinds.index(file.parent.name) for file in files])
    shape, notes = (_checked(size), ()) if size is not None else _shape_of(root.name, files)
    images = _decoded(root, files, shape, grey)
    return Raw(root.name, images, labels, tuple(kinds), parts, "NHWC", notes)


def _listed(root: Path) -> tuple[list[Path], np.ndarray | None]:
    """The image files in a fixed order, and the part of each where the folder gives the split."""
    named = {p.name: p for p in sorted(root.iterdir()) if p.is_dir()}
    given = {name: PARTS[name] for name in named if name in PARTS}
    if given and set(given.values()) != {0, 1, 2}:
        raise HwnasError(f"{root} has {', '.join(given)} but not all of train, val and test")
    roots = [(named[name], part) for name, part in given.items()] or [(root, 0)]
    found = [(f, part) for top, part in roots for f in sorted(top.glob("*/*")) if f.suffix.lower() in ENDINGS]
    if not found:
        raise HwnasError(
            f"{root} holds no image", hint="images go in <class>/<file>." + "|".join(sorted(e[1:] for e in ENDINGS))
        )
    return [f for f, _ in found], np.array([part for _, part in found]) if given else None


def _checked(size: Any) -> tuple[int, int]:
    sides = list(size) if isinstance(size, list | tuple) else [size, size]
    if len(sides) != 2 or any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in sides):
        raise HwnasError(f"data (folder): size must be a whole number or [height, width], got {size!r}")
    return sides[0], sides[1]


def _shape_of(name: str, files: Sequence[Path]) -> tuple[tuple[int, int], tuple[str, ...]]:
    """(height, width) that the images themselves suggest, and what to say about it."""
    shapes = np.array([_size_of(file) for file in files])
    equal = bool((shapes == shapes[0]).all())
    height, width = np.median(shapes, axis=0)
    if not equal:  # the median aspect at the median shorter side: as many images are cropped one way as the other
        aspect, shorter = float(np.median(shapes[:, 0] / shapes[:, 1])), float(np.median(shapes.min(axis=1)))
        height, width = (shorter * aspect, shorter) if aspect >= 1 else (shorter, shorter / aspect)
    scale = min(1.0, LARGEST / min(height, width))
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    if equal and scale == 1.0:
        return shape, ()
    why = "the images differ in shape" if not equal else f"the images are {shapes[0][0]}x{shapes[0][1]}"
    return shape, (f"data {name}: {why}; scaled and cropped to {shape[0]}x{shape[1]} (height x width; `size` decides)",)


def _size_of(file: Path) -> tuple[int, int]:
    """(height, width) as the picture is meant to be seen, from its header."""
    with _opening(file) as opened:
        turned = opened.getexif().get(274) in TURNED
        return opened.size if turned else (opened.height, opened.width)


@contextmanager
def _opening(file: Path) -> Iterator[Image]:
    """A picture opened by Pillow; whatever is wrong with it is one line that names the file."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            yield opened
    except Exception as problem:  # decoders of damaged files raise OSError, SyntaxError, ValueError, struct.error, ...
        raise HwnasError(f"{file} is not a readable image: {problem}", hint="remove it") from None


def _decoded(root: Path, files: Sequence[Path], shape: tuple[int, int], grey: bool) -> np.ndarray:
    """uint8 (N, H, W, C), mapped from the cache; made again when a file, its size or its time changes."""
    from PIL import __version__ as pillow

    stats = [(str(f.relative_to(root)), (s := f.stat()).st_size, s.st_mtime_ns) for f in files]
    full = (len(files), *shape, 1 if grey else 3)
    name = digest([str(root.resolve()), stats, full, pillow])

    def write(target: Path) -> None:
        images = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=full)
        with ThreadPoolExecutor(os.cpu_count()) as pool, bar("decoding images", True) as shown:
            for start in range(0, len(files), AT_ONCE):
                some = files[start : start + AT_ONCE]
                for i, image in enumerate(pool.map(lambda file: _read(file, shape, grey), some), start):
                    images[i] = image
                shown(start + len(some), len(files), "")
        images.flush()

    return cache.mapped(f"folder-{name}", int(np.prod(full)), write)


def _read(file: Path, shape: tuple[int, int], grey: bool) -> np.ndarray:
    """One image, uint8 (H, W, C), turned as it is meant to be seen."""
    from PIL import ImageOps

    with _opening(file) as opened:
        upright = ImageOps.exif_transpose(opened)
        fitted = ImageOps.fit(upright.convert("L" if grey else "RGB"), (shape[1], shape[0]))
        return np.asarray(fitted, dtype=np.uint8).reshape(*shape, -1)
