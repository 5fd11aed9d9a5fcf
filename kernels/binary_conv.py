"""1-bit convolution, 1x1 and dense: pack the constants, choose a tile, build the kernel for a target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from hwnas.kernels.binary_engine import Engine, engine_for, masked_engine_for
from hwnas.kernels.binary_epilogue import BitCollector, EpilogueMemory, Pixel, apply
from hwnas.kernels.binary_layout import BorderClasses, Spans, border_classes, epilogue_constants, spans, weight_words
from hwnas.kernels.binary_spec import BinaryConv, BinaryParameters, reference
from hwnas.kernels.builder import KernelBuilder, Memory, Value, kernel_name, lanes_of, shuffle
from hwnas.kernels.image import Image
from hwnas.kernels.target import Target

__all__ = ["BinaryConv", "BinaryParameters", "Tile", "build", "pack", "reference", "tiles"]


@dataclass(frozen=True)
class Tile:
    """`pixels` x `vectors` accumulators, `unroll` words a step of the inner loop."""

    pixels: int
    vectors: int
    unroll: int = 4


def _engine(spec: BinaryConv, target: Target) -> Engine:
    engine = engine_for(target, spec.window.taps * spec.x.channels)
    return masked_engine_for(target) if spans(spec, engine.lanes).masked else engine


def pack(spec: BinaryConv, target: Target, parameters: BinaryParameters) -> tuple[np.ndarray, ...]:
    """The constants in the order of the kernel's parameters."""
    engine = _engine(spec, target)
    layout = spans(spec, engine.lanes)
    words, masks = weight_words(spec, parameters.weights, layout)
    constants = [engine.arrange(words)]
    if masks is not None:
        constants.append(engine.arrange(masks))
    if not layout.shared:
        constants.append(np.array(layout.starts, np.int32))
    return (*constants, *epilogue_constants(spec, parameters, layout, border_classes(spec, target)))


def tiles(spec: BinaryConv, target: Target) -> list[Tile]:
    """At most eight tiles that keep their accumulators in registers, the good default first."""
    engine = _engine(spec, target)
    layout = spans(spec, engine.lanes)
    step = max(1, 8 // engine.lanes) if spec.bits is not None else 1
    width = _columns(spec)
    found = []
    for vectors in (4, 2, 1, 8, 3):
        rounded_up = -(-vectors // step) * step
        if (layout.shared and rounded_up <= max(layout.vectors, step)) or rounded_up == step:
            for pixels in _pixel_choices(width, rounded_up, target.max_registers, engine.registers):
                found.append(Tile(pixels, rounded_up, engine.unroll))
    unique = list(dict.fromkeys(found)) or [Tile(1, step, engine.unroll)]
    return sorted(unique, key=lambda tile: _cost(tile, spec, layout))[:8]


def _pixel_choices(width: int, vectors: int, registers: int, each: int) -> Iterator[int]:
    most = (registers - 2 - vectors) // (vectors * each)
    yield from range(min(most, width, 14), 0, -1)


def _cost(tile: Tile, spec: BinaryConv, layout: Spans) -> float:
    """Modelled time of one row of the layer: what remainders, loads and short dependency chains waste shows up here."""
    whole, rest = divmod(_columns(spec), tile.pixels)
    vector_tiles = [tile.vectors] * (layout.vectors // tile.vectors) + [layout.vectors % tile.vectors]
    return sum(whole * _step_cost(tile.pixels, vectors) + _step_cost(rest, vectors) for vectors in vector_tiles)


def _step_cost(pixels: int, vectors: int) -> float:
    """Relative time of one word of a tile. Above 16 accumulators cores were seen to slow down (Zen 5: 1.4x at 24)."""
    counts = pixels * vectors
    if counts == 0:
        return 0.0
    return max(counts * (1.0 if counts <= 16 else 1.3), 0.8 * (pixels + vectors), 5.0) + 0.15 * (pixels + vectors)


def _columns(spec: BinaryConv) -> int:
    """Output pixels of one row of the loop nest: the whole image where 1x1 kernels meet dense memory."""
    height, width = spec.out_size
    return height * width if _flat(spec) else width


def _flat(spec: BinaryConv) -> bool:
    window = spec.window
    if window.kernel != (1, 1) or window.stride != (1, 1) or any(window.padding):
        return False
    images = (spec.x, spec.y, spec.bits, spec.residual)
    return all(image.halo[2] == image.halo[3] == 0 for image in images if image is not None)


def build(spec: BinaryConv, target: Target, tile: Tile | None = None) -> tirx.PrimFunc:
    """The kernel: x, (residual), the packed constants, then y and/or bits."""
    return _Builder(spec, target, tile or tiles(spec, target)[0]).function()


@dataclass(frozen=True)
class _Block:
    """`vectors` vectors (`channels` valid channels) from `vector` on; `starts`: their first words where they vary."""

    vector: Value
    vectors: int
    channels: int
    starts: list[Value] | None


class _Builder:
    """Writes one kernel: loops over blocks of channels, rows and columns around one register tile."""

    def __init__(self, spec: BinaryConv, target: Target, tile: Tile) -> None:
        self.spec, self.tile = spec, tile
        self.engine: Engine = _engine(spec, target)
        self.layout = spans(spec, self.engine.lanes)
        self.classes: BorderClasses = border_classes(spec, target)
        self.words = spec.window.taps * self.layout.count
        self.unit = _chunk_bits(tile.vectors * self.engine.lanes)
        self.k = KernelBuilder(kernel_name(spec, tile))
        self._declare()

    def _declare(self) -> None:
        spec, k, layout = self.spec, self.k, self.layout
        self.x = k.pointer("x", "uint32", spec.x.size)
        residual = None if spec.residual is None else k.pointer("residual", "float32", spec.residual.size)
        total = layout.vectors * self.words
        self.weights = self.engine.weights_pointer(k, "weights", total)
        self.masks = self.engine.weights_pointer(k, "masks", total) if layout.masked else None
        self.starts = None if layout.shared else k.pointer("starts", "int32", layout.vectors)
        constants: dict[str, Memory] = {}
        if not self.classes.trivial or spec.output == "bits":
            height, width = spec.out_size
            constants["offsets"] = k.pointer("offsets", "int32", height + width)
            constants["bases"] = k.pointer("bases", "int32", self.classes.count * layout.channels)
        for name in _channel_constants(spec):
            constants[name] = k.pointer(name, "float32", layout.channels)
        y = None if spec.y is None else k.pointer("y", _y_type(spec), spec.y.size)
        bits = None
        if spec.bits is not None:
            bits = k.pointer("bits", f"uint{self.unit}", spec.bits.size * 32 // self.unit)
        self.memory = EpilogueMemory(residual=residual, y=y, bits=bits, **constants)

    def function(self) -> tirx.PrimFunc:
        k, vectors = self.k, self.tile.vectors
        whole = self.spec.out_channels // self.engine.lanes // vectors
        if self.spec.bits is not None and self.spec.out_channels % 32 and whole * vectors == self.layout.vectors:
            whole -= 1  # the last block also stores the pad bits of the last word
        if whole:
            with k.loop(whole) as block:
                self._rows(block * vectors, vectors, vectors * self.engine.lanes)
        rest = self.layout.vectors - whole * vectors
        if rest:
            self._rows(
                tirx.const(whole * vectors, "int32"), rest, self.spec.out_channels - whole * vectors * self.engine.lanes
            )
        return k.finish()

    def _rows(self, vector: Value, vectors: int, channels: int) -> None:
        """All pixels of the block of `channels` channels from `vector` on."""
        height, _ = self.spec.out_size
        starts = None if self.starts is None else [self.k.let(self.starts.load(vector + j)) for j in range(vectors)]
        block = _Block(vector, vectors, channels, starts)
        with self.k.loop(1 if _flat(self.spec) else height) as row:
            for first, pixels, repeats in self._column_tiles():
                with self.k.loop(repeats) as index:
                    known = range(first, first + pixels) if repeats == 1 else None
                    self._tile(block, row, index * pixels + first, pixels, known)

    def _column_tiles(self) -> Iterator[tuple[int, int, int]]:
        """(first column, pixels, repetitions) of each loop over tiles; a tile with columns to skip stands alone."""
        columns, pixels = _columns(self.spec), self.tile.pixels
        whole, rest = divmod(columns, pixels)
        first = 0
        while first < whole * pixels:
            last = first
            while last < whole * pixels and not self._skips(range(last, last + pixels)):
                last += pixels
            if last > first:
                yield first, pixels, (last - first) // pixels
            else:
                last = first + pixels
                yield first, pixels, 1
            first = last
        if rest:
            yield first, rest, 1

    def _skips(self, columns: range) -> bool:
        """True where some of these output columns leave taps out."""
        classes = self.classes
        return classes.skip_columns and any(classes.column_taps[classes.columns[column]] for column in columns)

    def _tile(self, block: _Block, row: Value, column: Value, pixels: int, known: range | None) -> None:
        """One register tile from output (row, column) on; `known` are its columns where they are numbers."""
        spec, window = self.spec, self.spec.window
        self.engine.begin(self.k, pixels, block.vectors)
        first = (
            (row * window.stride[0] - window.padding[0]) * spec.x.row
            + (column * window.stride[1] - window.padding[1]) * spec.x.pixel
            + spec.x.start
        )
        first = self.k.let(first)
        border = known if known is not None and self._skips(known) else None
        for j, start in enumerate(block.starts or [None]):
            tap = first if start is None else self.k.let(first + start)
            vectors = range(block.vectors) if start is None else range(j, j + 1)
            if border is None:
                self._accumulate(tap, row, block.vector, vectors, range(pixels))
            else:
                self._accumulate_border(tap, row, block.vector, vectors, border)
            if self._flush_once:
                self.engine.flush()
        for pixel in range(pixels):
            self._finish_pixel(block, row, column + pixel, pixel)

    @property
    def _flush_once(self) -> bool:
        return self.words <= self.engine.steps()

    def _accumulate(self, first: Value, row: Value, vector: Value, vectors: range, pixels: Sequence[int]) -> None:
        """Add every word of every tap to `vectors` of the tile; words consecutive in memory share one loop."""
        window, count = self.spec.window, self.layout.count
        width, run = window.kernel[1], count
        if window.dilation[1] == 1 and count == self.spec.x.pixel:
            width, run = 1, width * count
        with self._kernel_rows(row) as i, self.k.loop(width) as j:
            tap = first + i * (window.dilation[0] * self.spec.x.row) + j * (window.dilation[1] * self.spec.x.pixel)
            self._run(tap, vector * self.words + (i * width + j) * run, run, vectors, pixels)

    def _accumulate_border(self, first: Value, row: Value, vector: Value, vectors: range, columns: range) -> None:
        """The same for a tile of known columns: every kernel column only for the pixels where it meets the image."""
        window, count = self.spec.window, self.layout.count
        width = window.kernel[1]
        outside = [self.classes.column_taps[self.classes.columns[column]] for column in columns]
        with self._kernel_rows(row) as i:
            for j in range(width):
                pixels = [pixel for pixel, taps in enumerate(outside) if j not in taps]
                if pixels:
                    at = i * (window.dilation[0] * self.spec.x.row) + j * window.dilation[1] * self.spec.x.pixel
                    self._run(first + at, vector * self.words + (i * width + j) * count, count, vectors, pixels)

    @contextmanager
    def _kernel_rows(self, row: Value) -> Iterator[Value]:
        """A loop over the kernel rows that meet the image from output row `row`."""
        window, height = self.spec.window, self.spec.window.kernel[0]
        if not any(self.classes.row_taps):
            with self.k.loop(height) as i:
                yield i
            return
        k, step = self.k, window.dilation[0]
        above = k.let(window.padding[0] - row * window.stride[0])  # image rows between the window's top and the image
        low = k.let(tirx.Max(tirx.truncdiv(tirx.Max(above, 0) + (step - 1), step), 0))
        below = tirx.Max(above + self.spec.x.height, 0)
        high = tirx.Min(tirx.truncdiv(below + (step - 1), step), height)
        with k.loop(k.let(tirx.Max(high - low, 0))) as i:
            yield k.let(low + i)

    def _run(self, tap: Value, weight: Value, words: int, vectors: range, pixels: Sequence[int]) -> None:
        """Add `words` consecutive words."""
        tap, weight = self.k.let(tap), self.k.let(weight)
        for begin, (repetitions, length) in self._chunks(words):
            with self.k.loop(repetitions) as chunk:
                at = chunk * length + begin
                self._steps(tap + at, weight + at, vectors, pixels, length)
                if not self._flush_once:
                    self.engine.flush()

    def _chunks(self, run: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """(first word, (repetitions, words)): `run` cut so that no accumulator overflows."""
        repetitions = 1 if self._flush_once else -(-run // self.engine.steps())
        most = -(-run // repetitions)
        whole, rest = divmod(run, most)
        yield 0, (whole, most)
        if rest:
            yield whole * most, (1, rest)

    def _steps(self, tap: Value, weight: Value, vectors: range, pixels: Sequence[int], words: int) -> None:
        unroll = words if words <= 2 * self.tile.unroll else self.tile.unroll
        whole, rest = divmod(words, unroll)
        with self.k.loop(whole) as i:
            for word in range(unroll):
                at = i * unroll + word
                self._step(tap + at, weight + at, vectors, pixels)
            self.engine.end_step()
        for word in range(whole * unroll, whole * unroll + rest):
            self._step(tap + word, weight + word, vectors, pixels)
        self.engine.end_step()

    def _step(self, tap: Value, weight: Value, vectors: range, pixels: Sequence[int]) -> None:
        stride = self.spec.window.stride[1] * self.spec.x.pixel
        words = {pixel: self.k.let(self.x.load(tap + pixel * stride)) for pixel in pixels}
        offsets = {vector: weight + vector * self.words for vector in vectors}
        self.engine.add(words, self.weights, offsets, self.masks)

    def _finish_pixel(self, block: _Block, row: Value, column: Value, pixel: int) -> None:
        vector, vectors, channels = block.vector, block.vectors, block.channels
        place = self._place(row, column)
        lanes = self.engine.lanes
        first = self.k.let(vector * lanes)
        collector = None if self.memory.bits is None else BitCollector(self.k, self.memory.bits, self.unit)
        for position, count in self._valid_counts(pixel, vectors, channels):
            condition = apply(self.k, self.spec, self.memory, place, first + position, count)
            if collector is not None and condition is not None:
                collector.add(position, condition)
        if collector is not None:
            last = channels < vectors * lanes or vectors < self.tile.vectors or channels % 32 != 0
            padded = -(-self.spec.out_channels // 32) * 32 - (self.spec.out_channels - channels) if last else channels
            chunks = 32 // self.unit
            collector.store(place.bits * chunks + tirx.truncdiv(first, self.unit), padded)

    def _valid_counts(self, pixel: int, vectors: int, channels: int) -> Iterator[tuple[int, Value]]:
        """(first channel in the tile, counts) in pieces that cover the valid channels and nothing else."""
        position = 0
        for vector in range(vectors):
            for count in self.engine.counts(pixel, vector):
                lanes = lanes_of(count)
                valid = min(lanes, channels - position)
                if valid == lanes:
                    yield position, count
                elif valid > 0:
                    count = self.k.let(count)
                    done = 0
                    while done < valid:
                        piece = 1 << ((valid - done).bit_length() - 1)
                        yield position + done, shuffle([count], range(done, done + piece))
                        done += piece
                position += lanes

    def _place(self, row: Value, column: Value) -> Pixel:
        def at(image: Image | None) -> Value:
            return 0 if image is None else self.k.let(row * image.row + column * image.pixel + image.start)

        base: Value = 0
        if self.memory.offsets is not None:
            if self.classes.trivial:
                base = 0
            else:
                height, _ = self.spec.out_size
                base = self.k.let(self.memory.offsets.load(row) + self.memory.offsets.load(column + height))
        return Pixel(at(self.spec.y), at(self.spec.residual), at(self.spec.bits), base)


def _chunk_bits(channels: int) -> int:
    """The widest store that whole blocks of `channels` bits fill."""
    return next((unit for unit in (32, 16) if channels % unit == 0), 8)


def _y_type(spec: BinaryConv) -> str:
    return "int32" if spec.output == "int32" else "float32"


def _channel_constants(spec: BinaryConv) -> list[str]:
    """The per-channel float constants of a layer, in parameter order."""
    names = ["scale", "bias"] if "float" in spec.output else []
    names += ["slope"] if spec.activation != "none" else []
    names += ["shift_in", "shift_out"] if spec.activation == "rprelu" else []
    return [*names, "threshold"] if spec.output == "float+bits" else names
