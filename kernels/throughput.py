"""Which precision a machine multiplies fastest, counted in vector instructions: says where 1 bit is not worth it.

The numbers are multiply-accumulates an instruction of this package's inner loops, loads and epilogues left out: their
ratios compare precisions on one machine, not machines. They are an expectation; a measured table decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.kernels.target import Target

# A ratio below this is within what epilogues, packing and lost accuracy cost.
WORTHWHILE = 1.5


@dataclass(frozen=True)
class Throughput:
    """Multiply-accumulates an instruction: `binary` for 1-bit operands, `int8`, and `fp32`."""

    binary: float
    int8: float
    fp32: float

    @property
    def binary_over_int8(self) -> float:
        return self.binary / self.int8


def throughput(target: Target) -> Throughput:
    """The inner loops' multiply-accumulates an instruction on `target`."""
    bits, lanes = target.vector_bits, max(1, target.vector_bits // 32)
    fp32 = float(lanes) if target.has_fma else lanes / 2
    return Throughput(_binary(target, bits), _int8(target, lanes), fp32)


def _binary(target: Target, bits: int) -> float:
    if target.has_vpopcntdq or target.has_neon or target.has_simd128 or target.has("zvbb"):
        return bits / 3  # xor, count, add (or dot with ones)
    if target.has_ssse3:
        return bits / 8 * 4 / 2  # PSHUFB and add: four signs in each byte lane
    if target.has("zbb"):
        return 32 / 3
    if bits == 128:
        return bits / 14  # the count spelled out on bytes
    return 32 / 8  # carry-save adders: eight instructions a word


def _int8(target: Target, lanes: int) -> float:
    if target.has_vnni or target.has_dotprod or (target.has("avxvnni") and target.vector_bits == 256):
        return lanes * 4.0  # VPDPBUSD, SDOT, and with i8mm USDOT: no kernel here uses SMMLA, which would do twice that
    if target.arch == "thumb" and target.has("dsp"):
        return 1.0  # SMLAD: two products, and about as much again to widen the bytes
    if lanes == 1:
        return 0.5
    return float(lanes)  # 16-bit products, added in pairs: PMADDWD and PADDD, SMULL and SADALP


def advice(target: Target) -> str | None:
    """One sentence where INT8 is the better choice on `target`; None where 1 bit is worth it."""
    found = throughput(target)
    if found.binary_over_int8 >= WORTHWHILE:
        return None
    return (
        f"on {target.text} 1-bit layers do {found.binary_over_int8:.1f}x the multiply-accumulates an instruction of "
        f"INT8 ({found.binary:.0f} against {found.int8:.0f}): INT8 is the better choice there"
    )
