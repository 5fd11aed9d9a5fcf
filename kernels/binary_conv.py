"""1-bit convolution, 1x1 and dense: pack the constants, choose a tile, build the kernel for a target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from kernels.binary_engine import Engine, engine_for, masked_engine_for
from kernels.binary_epilogue import BitCollector, EpilogueMemory, Pixel, apply
from kernels.binary_layout import BorderClasses, Spans, border_classes, epilogue_constants, spans, weight_words
from kernels.binary_spec import BinaryConv, BinaryParameters, reference
from kernels.builder import KernelBuilder, Memory, Value, lanes_of, shuffle
from kernels.image import Image
from kernels.target import Target

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
    return (*constants, *epilogue_constants(spec, parameters, layout))


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


class _Builder:
    """Writes one kernel: loops over blocks of channels, rows and columns around one register tile."""

    def __init__(self, spec: BinaryConv, target: Target, tile: Tile) -> None:
        self.spec, self.tile = spec, tile
        self.engine: Engine = _engine(spec, target)
        self.layout = spans(spec, self.engine.lanes)
        self.classes: BorderClasses = border_classes(spec)
        self.words = spec.window.taps * self.layout.count
        self.unit = _chunk_bits(tile.vectors * self.engine.lanes)
        symbol = f"{spec.symbol}_{tile.pixels}_{tile.vectors}_{tile.unroll}"
        self.k = KernelBuilder(symbol)
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
            self._rows(tirx.const(whole * vectors, "int32"), rest,
                       self.spec.out_channels - whole * vectors * self.engine.lanes)
        return k.finish()

    def _rows(self, vector: Value, vectors: int, channels: int) -> None:
        """All pixels of the block of `channels` channels from `vector` on."""
        height, _ = self.spec.out_size
        columns = _columns(self.spec)
        starts = None if self.starts is None else [self.k.let(self.starts.load(vector + j)) for j in range(vectors)]
        with self.k.loop(1 if _flat(self.spec) else height) as row:
            whole, rest = divmod(columns, self.tile.pixels)
            if whole:
                with self.k.loop(whole) as index:
                    self._tile(vector, vectors, channels, row, index * self.tile.pixels, self.tile.pixels, starts)
            if rest:
                first = tirx.const(whole * self.tile.pixels, "int32")
                self._tile(vector, vectors, channels, row, first, rest, starts)

    def _tile(
        self,
        vector: Value,
        vectors: int,
        channels: int,
        row: Value,
        column: Value,
        pixels: int,
        starts: list[Value] | None,
    ) -> None:
        spec, window = self.spec, self.spec.window
        self.engine.begin(self.k, pixels, vectors)
        first = (
            (row * window.stride[0] - window.padding[0]) * spec.x.row
            + (column * window.stride[1] - window.padding[1]) * spec.x.pixel
            + spec.x.start
        )
        first = self.k.let(first)
        if starts is None:
            self._accumulate(first, vector, range(vectors), pixels)
        else:
            for j, start in enumerate(starts):
                self._accumulate(self.k.let(first + start), vector, range(j, j + 1), pixels)
        for pixel in range(pixels):
            self._finish_pixel(vector, vectors, channels, row, column + pixel, pixel)

    def _accumulate(self, first: Value, vector: Value, vectors: range, pixels: int) -> None:
        """Add every word of every tap to `vectors` of the tile; words consecutive in memory share one loop."""
        window, count = self.spec.window, self.layout.count
        height, width = window.kernel
        if window.dilation[1] == 1 and count == self.spec.x.pixel:
            width, run = 1, width * count
        else:
            run = count
        flush_once = self.words <= self.engine.steps()
        with self.k.loop(height) as i, self.k.loop(width) as j:
            tap = first + i * (window.dilation[0] * self.spec.x.row) + j * (window.dilation[1] * self.spec.x.pixel)
            tap = self.k.let(tap)
            weight = self.k.let(vector * self.words + (i * width + j) * run)
            for begin, length in self._chunks(run, flush_once):
                with self.k.loop(length[0]) as chunk:
                    at = chunk * length[1] + begin
                    self._steps(tap + at, weight + at, vectors, pixels, length[1])
                    if not flush_once:
                        self.engine.flush()
        if flush_once:
            self.engine.flush()

    def _chunks(self, run: int, flush_once: bool) -> Iterator[tuple[int, tuple[int, int]]]:
        """(first word, (repetitions, words)): `run` cut so that no accumulator overflows."""
        repetitions = 1 if flush_once else -(-run // self.engine.steps())
        most = -(-run // repetitions)
        whole, rest = divmod(run, most)
        yield 0, (whole, most)
        if rest:
            yield whole * most, (1, rest)

    def _steps(self, tap: Value, weight: Value, vectors: range, pixels: int, words: int) -> None:
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

    def _step(self, tap: Value, weight: Value, vectors: range, pixels: int) -> None:
        stride = self.spec.window.stride[1] * self.spec.x.pixel
        words = [self.k.let(self.x.load(tap + pixel * stride)) for pixel in range(pixels)]
        offsets = {vector: weight + vector * self.words for vector in vectors}
        self.engine.add(words, self.weights, offsets, self.masks)

    def _finish_pixel(
        self, vector: Value, vectors: int, channels: int, row: Value, column: Value, pixel: int
    ) -> None:
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
