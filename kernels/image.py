"""Where an activation lies in memory, and the sliding window over it: the shapes every kernel is specialised for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from hwnas.errors import HwnasError


@dataclass(frozen=True)
class Image:
    """One NHWC activation, batch 1, inside a buffer of `[top + H + bottom][left + W + right][stored]` elements.

    `halo` is (top, bottom, left, right) pixels around the interior; kernels write only the interior and whoever
    owns the buffer fills the halo. `stored` channels (0: exactly `channels`) may exceed `channels`; the extra ones may
    hold any value: kernels meet them with zero weights.
    """

    height: int
    width: int
    channels: int
    halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    stored: int = 0

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.channels) < 1 or min(self.halo) < 0:
            raise HwnasError(f"an image must have positive sizes and a halo of at least 0, got {self}")
        if self.stored and self.stored < self.channels:
            raise HwnasError(f"an image must store at least its channels, got {self}")
        if self.size >= 2**31:
            raise HwnasError(f"an image must have fewer than 2^31 stored elements, got {self}")

    @property
    def pixel(self) -> int:
        """Elements from one pixel to the next."""
        return self.stored or self.channels

    @property
    def row(self) -> int:
        """Elements from one row to the next."""
        return (self.width + self.halo[2] + self.halo[3]) * self.pixel

    @property
    def size(self) -> int:
        """Elements of the whole buffer."""
        return (self.height + self.halo[0] + self.halo[1]) * self.row

    @property
    def start(self) -> int:
        """Index of the first interior element."""
        return self.halo[0] * self.row + self.halo[2] * self.pixel

    @property
    def dense(self) -> bool:
        """True where the interior is one run of memory with nothing between."""
        return self.halo[2] == self.halo[3] == 0 and self.pixel == self.channels

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the interior."""
        return (self.height, self.width, self.channels)

    def embed(self, interior: np.ndarray, fill: float) -> np.ndarray:
        """The flat buffer that holds `interior` [H, W, C] with `fill` everywhere else."""
        buffer = np.full(self.size, fill, interior.dtype)
        self._view(buffer)[...] = interior
        return buffer

    def extract(self, buffer: np.ndarray) -> np.ndarray:
        """The interior [H, W, C] of a flat buffer."""
        return self._view(buffer).copy()

    def _view(self, buffer: np.ndarray) -> np.ndarray:
        top, bottom, left, right = self.halo
        whole = buffer.reshape(self.height + top + bottom, self.width + left + right, self.pixel)
        return whole[top : top + self.height, left : left + self.width, : self.channels]


@dataclass(frozen=True)
class Window:
    """A sliding window: kernel, stride and dilation are (height, width), padding ONNX's (top, left, bottom, right)."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if min(*self.kernel, *self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise HwnasError(f"a window must have positive kernel, stride, dilation and padding >= 0, got {self}")

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def result(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of what the window gives over an image of this size."""
        top, left, bottom, right = self.padding
        high = height + top + bottom - self.dilation[0] * (self.kernel[0] - 1) - 1
        wide = width + left + right - self.dilation[1] * (self.kernel[1] - 1) - 1
        if high < 0 or wide < 0:
            raise HwnasError(f"a window must fit its padded {height}x{width} image, got {self}")
        return high // self.stride[0] + 1, wide // self.stride[1] + 1

    def reach(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The halo (top, bottom, left, right) that the window's reads touch: the least an input must have."""
        high, wide = self.result(height, width)
        last_row = (high - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] - self.padding[0]
        last_column = (wide - 1) * self.stride[1] + (self.kernel[1] - 1) * self.dilation[1] - self.padding[1]
        return (
            self.padding[0],
            max(0, last_row - height + 1),
            self.padding[1],
            max(0, last_column - width + 1),
        )


POINT = Window()
THREE = Window((3, 3), (1, 1), (1, 1, 1, 1))


def check_same_shape(what: str, *images: Image) -> None:
    """Refuses images of several shapes; halos and strides may differ."""
    if any(image.shape != images[0].shape for image in images):
        raise HwnasError(f"{what}: all images must have one shape, got {', '.join(str(i.shape) for i in images)}")


def check_window(what: str, x: Image, y: Image, window: Window, needs_halo: bool = True) -> None:
    """Refuses an output image or an input halo that the window does not allow."""
    expected = window.result(x.height, x.width)
    if (y.height, y.width) != expected:
        raise HwnasError(f"{what}: the output must be {expected[0]}x{expected[1]}, got {y.height}x{y.width}")
    reach = window.reach(x.height, x.width)
    if needs_halo and any(have < need for have, need in zip(x.halo, reach, strict=True)):
        raise HwnasError(f"{what}: the input's halo (top, bottom, left, right) must be at least {reach}, got {x.halo}")


def padded(x: np.ndarray, window: Window, fill: float) -> np.ndarray:
    """`x` [H, W, C] with the window's padding around it, for the reference computations."""
    top, left, bottom, right = window.padding
    return np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=fill)


def patches(x: np.ndarray, window: Window) -> np.ndarray:
    """The window's patches of an already padded image: [H, W, C] -> [OH, OW, KH * KW, C]."""
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    high, wide = x.shape[0] - dh * (kh - 1), x.shape[1] - dw * (kw - 1)
    taps = [x[i * dh : i * dh + high : sh, j * dw : j * dw + wide : sw] for i in range(kh) for j in range(kw)]
    return np.stack(taps, axis=2)


def symbol(kind: str, readable: str, *parts: object) -> str:
    """A C identifier: the kind, a readable middle and a digest of everything that specialises the kernel."""
    digest = hashlib.sha1("|".join(repr(part) for part in parts).encode()).hexdigest()[:10]
    clean = "".join(letter if letter.isalnum() else "_" for letter in readable)
    return f"{kind}_{clean}_{digest}" if clean else f"{kind}_{digest}"
