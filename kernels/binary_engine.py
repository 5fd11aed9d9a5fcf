"""Ways to count the differing bits of activation words and weight words, one per kind of machine.

Output channels lie in vector lanes; an activation word is broadcast against them. Every engine keeps `pixels x vectors`
accumulators in registers, adds K words to them, and gives back the counts as int32 vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from tvm import tirx

from kernels.builder import KernelBuilder, Memory, Register, Value, broadcast, cast, const, reinterpret
from kernels.target import Target


class Engine(Protocol):
    """What the convolution asks of a way to count."""

    @property
    def lanes(self) -> int:
        """Output channels of one vector."""

    @property
    def pieces(self) -> int:
        """int32 vectors that one accumulator's counts come back in."""

    def arrange(self, words: np.ndarray) -> np.ndarray:
        """Weight words [vectors, K, lanes] to the layout that `weight` reads."""

    def weights_pointer(self, k: KernelBuilder, name: str, words: int) -> Memory:
        """The pointer parameter to `words` arranged weight words (of all lanes)."""

    def begin(self, k: KernelBuilder, pixels: int, vectors: int) -> None:
        """Declare the accumulators of a tile, zeroed."""

    def steps(self) -> int:
        """Words that may be added between two calls of `flush`."""

    def add(
        self, words: list[Value], weights: Memory, offsets: dict[int, Value], masks: Memory | None
    ) -> None:
        """Add one word of every pixel against the weight words of some vectors, at offsets in words of all lanes."""

    def flush(self) -> None:
        """Make room for `steps` more additions."""

    def counts(self, pixel: int, vector: int) -> list[Value]:
        """The int32 counts of one accumulator, lane 0 first."""


@dataclass
class WordEngine:
    """One 32-bit lane a channel and the machine's own population count (VPOPCNTD, cpop, or LLVM's expansion)."""

    lanes: int
    pieces: int = 1
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

    def add(
        self, words: list[Value], weights: Memory, offsets: dict[int, Value], masks: Memory | None
    ) -> None:
        for vector, offset in offsets.items():
            at = offset * self.lanes
            weight = self._k.let(weights.load(at, self.lanes))
            mask = None if masks is None else self._k.let(masks.load(at, self.lanes))
            for pixel, word in enumerate(words):
                differ = broadcast(word, self.lanes) ^ weight
                if mask is not None:
                    differ = differ & mask
                register = self._accumulators[pixel][vector]
                register.set(register.value + tirx.popcount(differ))

    def flush(self) -> None:
        """32-bit lanes never fill."""

    def counts(self, pixel: int, vector: int) -> list[Value]:
        return [reinterpret(self._accumulators[pixel][vector].value, f"int32x{self.lanes}")
                if self.lanes > 1 else cast(self._accumulators[pixel][vector].value, "int32")]


def engine_for(target: Target, masked: bool) -> Engine:
    """The fastest way to count on `target`."""
    return WordEngine(max(1, target.vector_bits // 32))
