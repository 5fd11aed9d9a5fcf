"""Ways to count the differing bits of activation words and weight words, one per kind of machine.

Output channels lie in vector lanes; an activation word is broadcast against them. Every engine keeps `pixels x vectors`
accumulators in registers, adds K words to them, and gives back the counts as int32 vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from tvm import tirx

from hwnas.kernels.binary_nibble import NibbleEngine
from hwnas.kernels.builder import KernelBuilder, Memory, Register, Value, broadcast, cast, const, intrinsic, reinterpret
from hwnas.kernels.target import Target


class Engine(Protocol):
    """What the convolution asks of a way to count."""

    @property
    def lanes(self) -> int:
        """Output channels of one vector."""

    @property
    def registers(self) -> int:
        """Machine registers one accumulator takes."""

    @property
    def unroll(self) -> int:
        """A good number of words for one step of the inner loop."""

    def arrange(self, words: np.ndarray) -> np.ndarray:
        """Weight words [vectors, K, lanes] to the layout that `weight` reads."""

    def weights_pointer(self, k: KernelBuilder, name: str, words: int) -> Memory:
        """The pointer parameter to `words` arranged weight words (of all lanes)."""

    def begin(self, k: KernelBuilder, pixels: int, vectors: int) -> None:
        """Declare the accumulators of a tile, zeroed."""

    def steps(self) -> int:
        """Words that may be added between two calls of `flush`."""

    def add(self, words: dict[int, Value], weights: Memory, offsets: dict[int, Value], masks: Memory | None) -> None:
        """Add one word of some pixels against the weight words of some vectors, at offsets in words of all lanes."""

    def end_step(self) -> None:
        """The words added since the last call may be combined now; called before every jump."""

    def flush(self) -> None:
        """Make room for `steps` more additions."""

    def counts(self, pixel: int, vector: int) -> list[Value]:
        """The int32 counts of one accumulator, lane 0 first."""


@dataclass
class WordEngine:
    """One 32-bit lane a channel and the machine's own population count (VPOPCNTD, cpop, or LLVM's expansion)."""

    lanes: int
    registers: int = 1
    unroll: int = 4
    _k: KernelBuilder = field(init=False, repr=False)
    _accumulators: list[list[Register]] = field(init=False, repr=False)

    def arrange(self, words: np.ndarray) -> np.ndarray:
        return words

    def weights_pointer(self, k: KernelBuilder, name: str, words: int) -> Memory:
        return k.pointer(name, "uint32", words * self.lanes)

    def begin(self, k: KernelBuilder, pixels: int, vectors: int) -> None:
        self._k = k
        zero = const(0, "uint32", self.lanes)
        self._accumulators = [[k.register(zero) for _ in range(vectors)] for _ in range(pixels)]

    def steps(self) -> int:
        return 1 << 25

    def add(self, words: dict[int, Value], weights: Memory, offsets: dict[int, Value], masks: Memory | None) -> None:
        for vector, offset in offsets.items():
            at = offset * self.lanes
            weight = self._k.let(weights.load(at, self.lanes))
            mask = None if masks is None else self._k.let(masks.load(at, self.lanes))
            for pixel, word in words.items():
                differ = broadcast(word, self.lanes) ^ weight
                if mask is not None:
                    differ = differ & mask
                register = self._accumulators[pixel][vector]
                register.set(register.value + tirx.popcount(differ))

    def end_step(self) -> None:
        """Words are counted as they come."""

    def flush(self) -> None:
        """32-bit lanes never fill."""

    def counts(self, pixel: int, vector: int) -> list[Value]:
        return [
            reinterpret(self._accumulators[pixel][vector].value, f"int32x{self.lanes}")
            if self.lanes > 1
            else cast(self._accumulators[pixel][vector].value, "int32")
        ]


# Byte lanes hold 31 words of at most 8 differences each.
_BYTE_WORDS = 31
_PAIR_SUMS = {
    "aarch64": "llvm.aarch64.neon.uaddlp",
    "arm": "llvm.arm.neon.vpaddlu",
    "wasm32": "llvm.wasm.extadd.pairwise.unsigned",
}


@dataclass
class ByteEngine:
    """128-bit vectors that count the bits of bytes only (NEON, wasm) or do so more cheaply than those of words.

    A channel is one 32-bit lane of four byte sums, added up at the end or every 31 words.
    """

    lanes: int
    arch: str
    registers: int = 1
    unroll: int = 4
    _k: KernelBuilder = field(init=False, repr=False)
    _bytes: list[list[Register]] = field(init=False, repr=False)
    _sums: list[list[Register]] = field(init=False, repr=False)

    def arrange(self, words: np.ndarray) -> np.ndarray:
        return words

    def weights_pointer(self, k: KernelBuilder, name: str, words: int) -> Memory:
        return k.pointer(name, "uint32", words * self.lanes)

    def begin(self, k: KernelBuilder, pixels: int, vectors: int) -> None:
        self._k = k
        zero, wide = const(0, "uint8", 4 * self.lanes), const(0, "uint32", self.lanes)
        self._bytes = [[k.register(zero) for _ in range(vectors)] for _ in range(pixels)]
        self._sums = [[k.register(wide) for _ in range(vectors)] for _ in range(pixels)]

    def steps(self) -> int:
        return _BYTE_WORDS

    def add(self, words: dict[int, Value], weights: Memory, offsets: dict[int, Value], masks: Memory | None) -> None:
        assert masks is None
        kind = f"uint8x{4 * self.lanes}"
        for vector, offset in offsets.items():
            weight = self._k.let(weights.load(offset * self.lanes, self.lanes))
            for pixel, word in words.items():
                differ = reinterpret(broadcast(word, self.lanes) ^ weight, kind)
                register = self._bytes[pixel][vector]
                register.set(register.value + intrinsic(kind, "llvm.ctpop", differ))

    def end_step(self) -> None:
        """Words are counted as they come."""

    def flush(self) -> None:
        for row, sums in zip(self._bytes, self._sums, strict=True):
            for register, total in zip(row, sums, strict=True):
                pairs = self._pair_sums(register.value, "uint16", 2 * self.lanes)
                total.set(total.value + self._pair_sums(pairs, "uint32", self.lanes))
                register.set(const(0, "uint8", 4 * self.lanes))

    def _pair_sums(self, value: Value, dtype: str, lanes: int) -> Value:
        """Sums of neighbouring lanes, in lanes of twice the width."""
        kind = f"{dtype}x{lanes}"
        if self.arch in _PAIR_SUMS and not (self.arch == "wasm32" and dtype == "uint32"):
            return self._k.let(intrinsic(kind, _PAIR_SUMS[self.arch], value))
        bits = 8 if dtype == "uint16" else 16
        whole = self._k.let(reinterpret(value, kind))
        low = whole & const((1 << bits) - 1, dtype, lanes)
        return self._k.let(low + (whole >> const(bits, dtype, lanes)))

    def counts(self, pixel: int, vector: int) -> list[Value]:
        return [reinterpret(self._sums[pixel][vector].value, f"int32x{self.lanes}")]


@dataclass
class CarrySaveEngine:
    """Scalar machines without a population count: full adders on whole words, so that only every fourth is counted.

    `ones` and `twos` hold the sum's low bits, position by position; four words cost three full adders (five
    operations each) and one count of the carries (Harley-Seal), instead of four counts of about a dozen.
    """

    lanes: int = 1
    registers: int = 5
    unroll: int = 4
    _k: KernelBuilder = field(init=False, repr=False)
    _state: list[list[tuple[Register, Register, Register]]] = field(init=False, repr=False)
    _pending: dict[tuple[int, int], list[Value]] = field(init=False, repr=False)

    def arrange(self, words: np.ndarray) -> np.ndarray:
        return words

    def weights_pointer(self, k: KernelBuilder, name: str, words: int) -> Memory:
        return k.pointer(name, "uint32", words)

    def begin(self, k: KernelBuilder, pixels: int, vectors: int) -> None:
        self._k, self._pending = k, {}
        zero = const(0, "uint32")
        self._state = [
            [(k.register(zero), k.register(zero), k.register(zero)) for _ in range(vectors)] for _ in range(pixels)
        ]

    def steps(self) -> int:
        return 1 << 25

    def add(self, words: dict[int, Value], weights: Memory, offsets: dict[int, Value], masks: Memory | None) -> None:
        for vector, offset in offsets.items():
            weight = self._k.let(weights.load(offset))
            mask = None if masks is None else self._k.let(masks.load(offset))
            for pixel, word in words.items():
                differ = word ^ weight
                pending = self._pending.setdefault((pixel, vector), [])
                pending.append(self._k.let(differ if mask is None else differ & mask))
                if len(pending) == 4:
                    self._add_four(*self._state[pixel][vector], pending)
                    pending.clear()

    def _add_four(self, ones: Register, twos: Register, total: Register, words: list[Value]) -> None:
        first = self._full_adder(ones, words[0], words[1])
        second = self._full_adder(ones, words[2], words[3])
        fours = self._full_adder(twos, first, second)
        total.set(total.value + (tirx.popcount(fours) << const(2, "uint32")))

    def _full_adder(self, low: Register, a: Value, b: Value) -> Value:
        """`low` becomes the sum bits of low + a + b; returns the carries."""
        k = self._k
        before = k.let(low.value)
        half = k.let(before ^ a)
        low.set(half ^ b)
        return k.let((before & a) | (half & b))

    def end_step(self) -> None:
        for (pixel, vector), words in self._pending.items():
            ones, _, total = self._state[pixel][vector]
            if len(words) >= 2:
                carries = self._full_adder(ones, words[0], words[1])
                total.set(total.value + (tirx.popcount(carries) << const(1, "uint32")))
            if len(words) % 2:
                total.set(total.value + tirx.popcount(words[-1]))
            words.clear()

    def flush(self) -> None:
        """32-bit sums never fill."""

    def counts(self, pixel: int, vector: int) -> list[Value]:
        ones, twos, total = self._state[pixel][vector]
        rest = tirx.popcount(ones.value) + (tirx.popcount(twos.value) << const(1, "uint32"))
        return [cast(total.value + rest, "int32")]


# Two 16-bit sums a lane hold this many words (32 differences each).
_MOST_WORDS_16_BIT = 65535 // 32


def engine_for(target: Target, words: int) -> Engine:
    """The fastest way to count `words` words a channel on `target`."""
    lanes = max(1, target.vector_bits // 32)
    if target.has_ssse3 and not target.has_vpopcntdq and words <= _MOST_WORDS_16_BIT:
        return NibbleEngine(target.vector_bits // 8, words)
    if lanes == 4 and not target.has_dotprod and not target.has("zvbb"):
        # Without a byte count (x86 without SSSE3, RISC-V) its expansion needs registers of its own.
        counted = target.arch in _PAIR_SUMS
        return ByteEngine(lanes, target.arch, registers=1 if counted else 3, unroll=4 if counted else 1)
    if lanes == 1 and not target.has("zbb"):
        return CarrySaveEngine()
    # Border tiles are written out one by one: short steps keep their code small (Zen 5, 3x3 layers: with 4 words a step
    # the same tile was up to 1.7x slower, at most 1 % faster).
    return WordEngine(lanes, unroll=2 if target.has_vpopcntdq else 4)


def masked_engine_for(target: Target) -> Engine:
    """The engine for layers whose groups need masks: whole 32-bit lanes."""
    return WordEngine(max(1, target.vector_bits // 32))
