"""Counting differing bits by table: four signs at a time through PSHUFB, for x86 without VPOPCNTD."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwnas.kernels.builder import KernelBuilder, Memory, Register, Value, cast, const, intrinsic, reinterpret, shuffle

# popcount(i ^ j) is at most 4, so a byte holds 63 of them: 7 words of 8 nibbles.
_NIBBLE_WORDS = 7
PSHUFB = {16: "llvm.x86.ssse3.pshuf.b.128", 32: "llvm.x86.avx2.pshuf.b", 64: "llvm.x86.avx512.pshuf.b.512"}


@dataclass
class NibbleEngine:
    """x86 without VPOPCNTD: one byte lane a channel; four signs at once from a 16-entry table through PSHUFB.

    The table of an activation nibble n holds popcount(n ^ i) for every weight nibble i. Byte sums spill into two
    16-bit sums (even and odd bytes), so byte 4 * l + t of a vector is channel t * lanes / 4 + l: then the counts come
    out as four vectors of consecutive channels. Weights take a byte a nibble.
    """

    lanes: int
    words: int
    registers: int = 3
    unroll: int = 1
    _k: KernelBuilder = field(init=False, repr=False)
    _tables: Memory | None = field(init=False, repr=False, default=None)
    _bytes: list[list[Register]] = field(init=False, repr=False)
    _halves: list[list[tuple[Register, Register]]] = field(init=False, repr=False)

    def arrange(self, words: np.ndarray) -> np.ndarray:
        channels = [t * (self.lanes // 4) + lane for lane in range(self.lanes // 4) for t in range(4)]
        shifts = np.arange(0, 32, 4, dtype=np.uint32)[:, None]
        nibbles = (words[:, :, None, channels] >> shifts) & 15
        return np.ascontiguousarray(nibbles.astype(np.uint8))

    def weights_pointer(self, k: KernelBuilder, name: str, words: int) -> Memory:
        self._tables = _nibble_tables(k)
        return k.pointer(name, "uint8", words * 8 * self.lanes)

    def begin(self, k: KernelBuilder, pixels: int, vectors: int) -> None:
        self._k = k
        zero, wide = const(0, "uint8", self.lanes), const(0, "uint16", self.lanes // 2)
        self._bytes = [[k.register(zero) for _ in range(vectors)] for _ in range(pixels)]
        self._halves = []
        if self.words > _NIBBLE_WORDS:
            self._halves = [[(k.register(wide), k.register(wide)) for _ in range(vectors)] for _ in range(pixels)]

    def steps(self) -> int:
        return _NIBBLE_WORDS

    def add(self, words: dict[int, Value], weights: Memory, offsets: dict[int, Value], masks: Memory | None) -> None:
        k, lanes = self._k, self.lanes
        assert self._tables is not None and masks is None
        for nibble in range(8):
            tables = {pixel: k.let(self._table(word, nibble)) for pixel, word in words.items()}
            for vector, offset in offsets.items():
                weight = k.let(reinterpret(weights.load((offset * 8 + nibble) * lanes, lanes), f"int8x{lanes}"))
                for pixel, table in tables.items():
                    counts = intrinsic(f"int8x{lanes}", PSHUFB[lanes], table, weight)
                    register = self._bytes[pixel][vector]
                    register.set(register.value + reinterpret(counts, f"uint8x{lanes}"))

    def _table(self, word: Value, nibble: int) -> Value:
        """The table of one nibble of `word`, in every 16-byte part of a vector."""
        assert self._tables is not None
        shift = 4 * nibble - 4
        moved = word << const(4, "uint32") if shift < 0 else word >> const(shift, "uint32") if shift else word
        entry = self._tables.load(cast(moved & const(0xF0, "uint32"), "int32"), 16)
        if self.lanes > 16:
            entry = shuffle([self._k.let(entry)] * (self.lanes // 16), range(self.lanes))
        return reinterpret(entry, f"int8x{self.lanes}")

    def end_step(self) -> None:
        """Words are counted as they come."""

    def flush(self) -> None:
        for pixel, row in enumerate(self._halves):
            for vector, (even, odd) in enumerate(row):
                register = self._bytes[pixel][vector]
                pairs = self._k.let(reinterpret(register.value, f"uint16x{self.lanes // 2}"))
                even.set(even.value + (pairs & const(0xFF, "uint16", self.lanes // 2)))
                odd.set(odd.value + (pairs >> const(8, "uint16", self.lanes // 2)))
                register.set(const(0, "uint8", self.lanes))

    def counts(self, pixel: int, vector: int) -> list[Value]:
        quads = self.lanes // 4
        kind = f"int32x{quads}"
        if not self._halves:
            whole = self._k.let(reinterpret(self._bytes[pixel][vector].value, f"uint32x{quads}"))
            byte = const(0xFF, "uint32", quads)
            return [reinterpret((whole >> const(8 * t, "uint32", quads)) & byte, kind) for t in range(4)]
        even, odd = (self._k.let(reinterpret(half.value, f"uint32x{quads}")) for half in self._halves[pixel][vector])
        low, shift = const(0xFFFF, "uint32", quads), const(16, "uint32", quads)
        return [reinterpret(part, kind) for part in (even & low, odd & low, even >> shift, odd >> shift)]


def _nibble_tables(k: KernelBuilder) -> Memory:
    """256 bytes on the stack: entry 16 * n + i is popcount(n ^ i)."""
    tables = k.stack("uint8", 256)
    for nibble in range(16):
        values = [const((nibble ^ i).bit_count(), "uint8") for i in range(16)]
        tables.store(16 * nibble, shuffle(values, range(16)))
    return tables
