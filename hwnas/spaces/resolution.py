"""Which resolutions suit the data. A resolution is the shorter side; the other side follows the aspect of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwnas.errors import HwnasError

USUAL = (160, 192, 224)  # MobileNet's, and what stands for data of unknown size
# Below a quarter of the data's side 15 of 16 pixels go; above twice it 3 of 4 are made up and all are paid for.
SMALLEST, LARGEST = 1 / 4, 2.0


def ints(values: Any, name: str) -> tuple[int, ...]:
    """`values` (one whole number or a list) as distinct whole numbers above 0, rising; HwnasError names `name`."""
    listed = values if isinstance(values, list | tuple) else [values]
    if not listed or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in listed):
        raise HwnasError(f"{name} must be whole numbers of at least 1, got {values!r}")
    return tuple(sorted(set(listed)))


def odd_kernels(kernels: Any) -> tuple[int, ...]:
    """The same of kernel sizes, which are odd: their padding is symmetric."""
    sizes = ints(kernels, "kernels")
    if any(size % 2 == 0 for size in sizes):
        raise HwnasError(f"kernels must be odd, got {list(sizes)}")
    return sizes


def derived(image_size: tuple[int, int]) -> tuple[int, ...]:
    """5/7, 6/7 and all of the data's shorter side (at most 224), as 160, 192 and 224 are of 224.

    They are multiples of the largest power of two within a sixth of the side, so that strides halve them evenly:
    8 gives 6, 7, 8; 32 gives 24, 28, 32; 96 gives 64, 80, 96.
    """
    side = min(*image_size, USUAL[-1])
    unit = 1 << max(0, (side // 6).bit_length() - 1)
    return tuple(
        sorted({max(1, round(side * share / unit)) * unit for share in (5 / 7, 6 / 7)} | {side // unit * unit})
    )


def resolutions_for(given: Any, image_size: Sequence[int] | None) -> tuple[int, ...]:
    """The resolutions given, or those of the data where none are. HwnasError for one that is far from the data's."""
    size = checked_size(image_size)
    if given is None:
        return derived(size) if size else USUAL
    listed = ints(given, "resolutions")
    if size is None:
        return listed
    side = min(size)
    far = [r for r in listed if not SMALLEST * side <= r <= LARGEST * side]
    if far:
        raise HwnasError(
            f"resolutions must lie between a quarter and twice the images' {size[0]}x{size[1]} pixels, got {far[0]}",
            hint=f"leave resolutions out to take {list(derived(size))} from the data, or scale the data (folder: size)",
        )
    return listed


def checked_size(image_size: Any) -> tuple[int, int] | None:
    """(height, width), or None where it is not known."""
    if image_size is None:
        return None
    whole = isinstance(image_size, list | tuple) and all(
        isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in image_size
    )
    if not whole or len(image_size) != 2:
        raise HwnasError(f"image_size must be [height, width], got {image_size!r}")
    return image_size[0], image_size[1]


def sides(resolution: int, image_size: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) at a resolution: a square where the data's shape is not known."""
    if image_size is None:
        return resolution, resolution
    height, width = image_size
    longer = max(resolution, round(resolution * max(image_size) / min(image_size)))
    return (longer, resolution) if height > width else (resolution, longer)
