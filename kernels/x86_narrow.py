"""AVX-512BW: several vectors of float32 to one vector of 8-bit values, by the saturating pack instructions.

The same values as `requantise.to_8_bits`: VCVTPS2DQ rounds half to even; a float too large for int32 becomes INT32_MIN,
so values are bounded from above first, while a too small one saturates to the low end as it should.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx

from hwnas.kernels.builder import KernelBuilder, Value, const, intrinsic, shuffle
from hwnas.kernels.requantise import bounds
from hwnas.kernels.target import Target

_CURRENT_ROUNDING = 4
_LANES = 16


def has_narrow(target: Target) -> bool:
    """True where `narrow` may be used."""
    return target.has_avx512bw


def narrow(
    b: KernelBuilder, values: Sequence[Value], zero_point: int, signed: bool, interleaved: bool = False
) -> Value:
    """One to four float32x16 (already scaled) to 8 bits x 64; only the first 16 * len(values) results mean something.

    In order, or with `interleaved`: lane l of vector j goes to 16 * (l // 4) + 4 * j + l % 4.
    """
    whole = [_rounded(b, value, zero_point, signed) for value in values]
    whole += [whole[-1]] * (-len(whole) % 2)
    halves = [_pack_words(b, whole[i], whole[i + 1], zero_point) for i in range(0, len(whole), 2)]
    name = "llvm.x86.avx512.packsswb.512" if signed else "llvm.x86.avx512.packuswb.512"
    packed = b.let(intrinsic("int8x64" if signed else "uint8x64", name, halves[0], halves[-1]))
    if interleaved:
        return packed
    # each 128-bit part holds four bytes of every vector: gather them vector by vector
    order = [16 * part + 4 * vector + i for vector in range(4) for part in range(4) for i in range(4)]
    return b.let(shuffle([packed], order))


def _rounded(b: KernelBuilder, value: Value, zero_point: int, signed: bool) -> Value:
    most = float(bounds(signed)[1] - zero_point)
    bounded = tirx.min(value, const(most, "float32", _LANES))
    whole = intrinsic(
        "int32x16",
        "llvm.x86.avx512.mask.cvtps2dq.512",
        bounded,
        const(0, "int32", _LANES),
        const(0xFFFF, "uint16"),
        const(_CURRENT_ROUNDING, "int32"),
    )
    return b.let(whole)


def _pack_words(b: KernelBuilder, low: Value, high: Value, zero_point: int) -> Value:
    words = intrinsic("int16x32", "llvm.x86.avx512.packssdw.512", low, high)
    if zero_point:
        words = intrinsic("int16x32", "llvm.sadd.sat", words, const(zero_point, "int16", 32))
    return b.let(words)
