"""How a 1-bit layer's constants lie in memory: weight words by vectors of output channels, and border corrections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.kernels.binary_spec import BinaryConv, BinaryParameters
from hwnas.kernels.packed_bits import WORD, pack_bits, word_count
from hwnas.kernels.target import Target


@dataclass(frozen=True)
class Spans:
    """Which input words each vector of `lanes` output channels meets.

    Every vector reads `count` words from its own `starts` entry; where a lane's group does not fill them exactly,
    `masked` layers carry a mask beside each weight word.
    """

    lanes: int
    starts: tuple[int, ...]
    count: int
    masked: bool

    @property
    def vectors(self) -> int:
        return len(self.starts)

    @property
    def channels(self) -> int:
        """Output channels rounded up to whole vectors."""
        return self.vectors * self.lanes

    @property
    def shared(self) -> bool:
        """True where every vector reads all from word 0 on."""
        return set(self.starts) == {0}


def spans(spec: BinaryConv, lanes: int) -> Spans:
    """The words each vector of output channels reads."""
    per_group, group = spec.out_channels // spec.groups, spec.group_channels
    ranges = []
    for first in range(0, spec.out_channels, lanes):
        last = min(first + lanes, spec.out_channels) - 1
        low, high = first // per_group * group, (last // per_group + 1) * group
        ranges.append((low // WORD, word_count(high)))
    count = max(end - start for start, end in ranges)
    words = word_count(spec.in_channels)
    starts = tuple(min(start, words - count) for start, _ in ranges)
    masked = spec.groups > 1 and not (group == count * WORD and per_group % lanes == 0)
    return Spans(lanes, starts, count, masked)


def weight_words(spec: BinaryConv, weights: np.ndarray, layout: Spans) -> tuple[np.ndarray, np.ndarray | None]:
    """Weights int8 [O, KH, KW, C / groups] to uint32 words, and their masks, each [vectors, taps * count, lanes]."""
    taps, group = spec.window.taps, spec.group_channels
    bits = np.zeros((layout.channels, taps, layout.count * WORD), bool)
    mask = np.zeros_like(bits)
    rows = weights.reshape(spec.out_channels, taps, group) > 0
    for channel in range(spec.out_channels):
        start = channel // (spec.out_channels // spec.groups) * group - layout.starts[channel // layout.lanes] * WORD
        bits[channel, :, start : start + group] = rows[channel]
        mask[channel, :, start : start + group] = True
    return _by_vector(bits, layout), _by_vector(mask, layout) if layout.masked else None


def _by_vector(bits: np.ndarray, layout: Spans) -> np.ndarray:
    words = pack_bits(bits).reshape(layout.vectors, layout.lanes, -1)
    return np.ascontiguousarray(words.transpose(0, 2, 1))


@dataclass(frozen=True)
class BorderClasses:
    """Output rows and columns by which of their taps fall outside the image.

    `rows[y]` and `columns[x]` number the classes; `row_taps[class]` are the kernel rows outside. Kernels skip the rows
    outside, and where `skip_columns` says so the columns too; a column that is not skipped meets the halo.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    row_taps: tuple[frozenset[int], ...]
    column_taps: tuple[frozenset[int], ...]
    skip_columns: bool = False

    @property
    def trivial(self) -> bool:
        """True where no output meets the border (or the padding is not an exact zero): nothing to correct."""
        return not any(self.row_taps) and not any(self.column_taps)

    @property
    def count(self) -> int:
        return len(self.row_taps) * len(self.column_taps)


# Skipping border columns writes out the tiles at the border one by one: worth it where it saves this part of the taps.
_SKIPPED_SHARE = 0.03


def border_classes(spec: BinaryConv, target: Target) -> BorderClasses:
    """The border classes of a layer: all in one where nothing is to be skipped or corrected."""
    height, width = spec.out_size
    if spec.padding != "zero":
        return BorderClasses((0,) * height, (0,) * width, (frozenset(),), (frozenset(),))
    window = spec.window
    rows, row_taps = _classes(
        height, spec.x.height, window.kernel[0], window.stride[0], window.dilation[0], window.padding[0]
    )
    columns, column_taps = _classes(
        width, spec.x.width, window.kernel[1], window.stride[1], window.dilation[1], window.padding[1]
    )
    outside = sum(len(column_taps[column]) for column in columns)
    skip = outside >= _SKIPPED_SHARE * width * window.kernel[1] and target.arch != "thumb"  # whose flash is small
    return BorderClasses(rows, columns, row_taps, column_taps, skip)


def computed_macs(spec: BinaryConv, target: Target) -> int:
    """Multiply-accumulates that the kernel for `target` does: those with padding that it skips are left out."""
    classes = border_classes(spec, target)
    height, width = spec.window.kernel
    rows = sum(height - len(classes.row_taps[row]) for row in classes.rows)
    left_out = [len(classes.column_taps[column]) if classes.skip_columns else 0 for column in classes.columns]
    return rows * sum(width - taps for taps in left_out) * spec.out_channels * spec.group_channels


def _classes(
    outputs: int, size: int, kernel: int, stride: int, dilation: int, pad: int
) -> tuple[tuple[int, ...], tuple[frozenset[int], ...]]:
    found: dict[frozenset[int], int] = {}
    numbers = []
    for position in range(outputs):
        first = position * stride - pad
        outside = frozenset(tap for tap in range(kernel) if not 0 <= first + tap * dilation < size)
        numbers.append(found.setdefault(outside, len(found)))
    return tuple(numbers), tuple(found)


def class_offsets(classes: BorderClasses, layout: Spans) -> np.ndarray:
    """int32 [OH + OW]: where each output row and column begins in the table of `bases`; their sum is the index."""
    per_row = len(classes.column_taps) * layout.channels
    offsets = [row * per_row for row in classes.rows] + [column * layout.channels for column in classes.columns]
    return np.array(offsets, np.int32)


def bases(spec: BinaryConv, weights: np.ndarray, layout: Spans, classes: BorderClasses) -> np.ndarray:
    """int32 [classes, channels]: what 2 * popcount is taken from, so that taps in the halo count as exact zeros.

    The number of products computed; where a tap in the halo is among them, its bits 0 (that is -1) gave -sum(w), so
    sum(w) is added back.
    """
    height, width = spec.window.kernel
    sums = weights.astype(np.int64).sum(axis=3).reshape(spec.out_channels, height, width)
    table = np.zeros((classes.count, layout.channels), np.int64)
    for index in range(classes.count):
        outside = classes.column_taps[index % len(classes.column_taps)]
        row_taps = classes.row_taps[index // len(classes.column_taps)]
        rows = [i for i in range(height) if i not in row_taps]
        computed = [j for j in range(width) if not (classes.skip_columns and j in outside)]
        halo = [j for j in computed if j in outside]
        added = sums[:, rows][:, :, halo].sum(axis=(1, 2))
        table[index, : spec.out_channels] = len(rows) * len(computed) * spec.group_channels + added
    return table.astype(np.int32)


def per_channel(values: np.ndarray | None, layout: Spans, dtype: str) -> np.ndarray:
    """A vector of one number a channel, padded with zeros to whole vectors of lanes."""
    padded = np.zeros(layout.channels, dtype)
    if values is not None:
        padded[: len(values)] = values
    return padded


def epilogue_constants(
    spec: BinaryConv, parameters: BinaryParameters, layout: Spans, classes: BorderClasses
) -> tuple[np.ndarray, ...]:
    """The constants after the weights, in the order in which kernels take them."""
    constants: list[np.ndarray] = []
    table = bases(spec, parameters.weights, layout, classes)
    if spec.output == "bits":
        threshold = per_channel(parameters.threshold, layout, "int32").astype(np.int64)
        # dot >= t, that is base - 2 * p >= t, exactly where p <= floor((base - t) / 2).
        table = np.clip((table.astype(np.int64) - threshold) // 2, -(2**31), 2**31 - 1).astype(np.int32)
    if not classes.trivial or spec.output == "bits":
        constants += [class_offsets(classes, layout), table]
    if "float" in spec.output:
        constants += [per_channel(parameters.scale, layout, "float32")]
        constants += [per_channel(parameters.bias, layout, "float32")]
    if spec.activation != "none":
        constants.append(per_channel(parameters.slope, layout, "float32"))
    if spec.activation == "rprelu":
        constants += [per_channel(parameters.shift_in, layout, "float32")]
        constants += [per_channel(parameters.shift_out, layout, "float32")]
    if spec.output == "float+bits":
        constants.append(per_channel(parameters.threshold, layout, "float32"))
    return tuple(constants)
