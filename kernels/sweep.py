"""Loops of pointwise kernels over images that differ only in how they lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hwnas.kernels.builder import KernelBuilder, Value
from hwnas.kernels.image import Image
from hwnas.kernels.target import Target

# body(index of the first element in each image, its channel or None where a piece spans pixels, lanes)
Body = Callable[[list[Value], Value, int], None]


def pieces(length: int, lanes: int) -> Iterator[tuple[int, int, int]]:
    """(first, count, lanes) runs that cover `length`: whole vectors, then powers of two."""
    whole = length // lanes
    if whole:
        yield 0, whole, lanes
    done, size = whole * lanes, lanes
    while done < length:
        size //= 2
        if length - done >= size:
            yield done, 1, size
            done += size


def sweep_elements(b: KernelBuilder, images: Sequence[Image], lanes: int, body: Body) -> None:
    """Visits every interior element, in the longest runs that all the images share; the channel is not given."""
    first = images[0]
    if any(image.pixel != image.channels for image in images):
        sweep_channels(b, images, lanes, body)
        return
    if all(image.dense for image in images):
        rows, length, strides = 1, first.height * first.width * first.channels, [0] * len(images)
    else:
        rows, length, strides = first.height, first.width * first.channels, [image.row for image in images]
    with b.loop(rows) as row:
        starts = [b.let(row * stride + image.start) for image, stride in zip(images, strides, strict=True)]
        _sweep_run(b, starts, length, lanes, body)


def sweep_channels(b: KernelBuilder, images: Sequence[Image], lanes: int, body: Body) -> None:
    """Visits every pixel's channels; `body` gets the channel, so per-channel constants can be loaded."""
    first = images[0]
    with b.loop(first.height) as row, b.loop(first.width) as column:
        starts = [b.let(row * image.row + column * image.pixel + image.start) for image in images]
        _sweep_run(b, starts, first.channels, lanes, body)


def _sweep_run(b: KernelBuilder, starts: list[Value], length: int, lanes: int, body: Body) -> None:
    for first, count, size in pieces(length, lanes):
        with b.loop(count) as i:
            offset = i * size + first
            body([start + offset for start in starts], offset, size)


def lanes_for(target: Target, bits: int) -> int:
    """Lanes of `bits` each in the target's widest vector, at least 1."""
    return max(1, target.vector_bits // bits)


def segments(size: int, result: int, kernel: int, stride: int, pad: int, dilation: int) -> list[tuple[int, int, range]]:
    """Runs (first, count, taps) of output positions along one axis whose window meets the same taps of the image."""
    found: list[tuple[int, int, range]] = []
    for position in range(result):
        origin = position * stride - pad
        inside = [tap for tap in range(kernel) if 0 <= origin + tap * dilation < size]
        taps = range(inside[0], inside[-1] + 1) if inside else range(0)
        if found and found[-1][2] == taps:
            first, count, _ = found[-1]
            found[-1] = (first, count + 1, taps)
        else:
            found.append((position, 1, taps))
    return found
