"""One multiply-accumulate step of 8-bit kernels, the best that a target has; all are exact in int32."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.kernels.builder import KernelBuilder, Memory, Value, broadcast, cast, const, intrinsic, reinterpret, shuffle
from hwnas.kernels.direct_conv import Conv, Dot
from hwnas.kernels.target import Target


def choose_dot(target: Target, conv: Conv, x_signed: bool) -> Dot:
    """The widest dot of `target` whose channel steps stay inside the input's pixels."""
    if target.has_vnni and conv.fits(4):
        return Vnni(x_signed)
    if target.has("avxvnni") and conv.fits(4):
        return Vnni(x_signed, lanes=8)
    if target.has_i8mm and conv.fits(4):
        return NeonDot(x_signed, mixed=not x_signed)
    if target.has_dotprod and conv.fits(4):
        return NeonDot(x_signed, mixed=False)
    if target.arch == "thumb" and target.has("dsp") and conv.fits(4):
        return Smlad(x_signed)
    if conv.fits(2) and (target.arch == "x86_64" or target.has_simd128):
        return PairMadd(x_signed, target.vector_bits // 32, wasm=target.has_simd128)
    return Widening(x_signed, lanes=max(1, target.vector_bits // 32))


def zero_point_shift(dot: Dot) -> int:
    """What the dot adds to every activation before it multiplies (packed biases take it back)."""
    if isinstance(dot, Vnni):
        return 128 if dot.x_signed else 0
    if isinstance(dot, NeonDot):
        return 0 if dot.mixed or dot.x_signed else -128
    return 0


def _word(memory: Memory, index: Value) -> Value:
    """Four bytes as one 32-bit scalar."""
    return reinterpret(memory.load(index, 4), "uint32")


@dataclass(frozen=True)
class Vnni:
    """VPDPBUSD: unsigned activations by signed weights, four channels a lane; signed ones are shifted by 128.

    16 lanes with AVX-512 VNNI, 8 with AVX-VNNI (LLVM has one intrinsic for both encodings).
    """

    x_signed: bool
    lanes: int = 16
    step: int = 4
    weight_dtype: str = "int8"
    order: tuple[int, ...] = (0, 1, 2, 3)

    def zero(self) -> Value:
        return const(0, "int32", self.lanes)

    def activation(self, b: KernelBuilder, memory: Memory, index: Value) -> Value:
        word = _word(memory, index)
        if self.x_signed:
            word = word ^ const(0x80808080, "uint32")
        return reinterpret(broadcast(word, self.lanes), f"uint8x{self.lanes * 4}")

    def accumulate(self, acc: Value, activation: Value, weight: Value) -> Value:
        name = f"llvm.x86.avx512.vpdpbusd.{self.lanes * 32}"
        return intrinsic(f"int32x{self.lanes}", name, acc, activation, weight)


@dataclass(frozen=True)
class NeonDot:
    """Arm SDOT (both signed: unsigned activations are shifted by -128) or, `mixed`, USDOT."""

    x_signed: bool
    mixed: bool
    lanes: int = 4
    step: int = 4
    weight_dtype: str = "int8"
    order: tuple[int, ...] = (0, 1, 2, 3)

    def zero(self) -> Value:
        return const(0, "int32", self.lanes)

    def activation(self, b: KernelBuilder, memory: Memory, index: Value) -> Value:
        word = _word(memory, index)
        if zero_point_shift(self):
            word = word ^ const(0x80808080, "uint32")
        return reinterpret(broadcast(word, self.lanes), "uint8x16" if self.mixed else "int8x16")

    def accumulate(self, acc: Value, activation: Value, weight: Value) -> Value:
        name = "usdot" if self.mixed else "sdot"
        return intrinsic("int32x4", f"llvm.aarch64.neon.{name}.v4i32.v16i8", acc, activation, weight)


_MADD = {
    16: "llvm.x86.avx512.pmaddw.d.512",
    8: "llvm.x86.avx2.pmadd.wd",
    4: "llvm.x86.sse2.pmadd.wd",
}


@dataclass(frozen=True)
class PairMadd:
    """Pairs of 16-bit products (x86 PMADDWD, wasm i32x4.dot_i16x8_s): exact, unlike the saturating PMADDUBSW."""

    x_signed: bool
    lanes: int
    wasm: bool = False
    step: int = 2
    weight_dtype: str = "int16"
    order: tuple[int, ...] = (0, 1)

    def zero(self) -> Value:
        return const(0, "int32", self.lanes)

    def activation(self, b: KernelBuilder, memory: Memory, index: Value) -> Value:
        pair = cast(memory.load(index, 2), "int16")
        return reinterpret(broadcast(reinterpret(pair, "int32"), self.lanes), f"int16x{self.lanes * 2}")

    def accumulate(self, acc: Value, activation: Value, weight: Value) -> Value:
        name = "llvm.wasm.dot" if self.wasm else _MADD[self.lanes]
        return acc + intrinsic(f"int32x{self.lanes}", name, activation, weight)


@dataclass(frozen=True)
class Smlad:
    """Cortex-M DSP: the bytes (0, 2) and (1, 3) of a word become 16-bit pairs for two SMLAD with the weights'."""

    x_signed: bool
    lanes: int = 1
    step: int = 4
    weight_dtype: str = "int16"
    order: tuple[int, ...] = (0, 2, 1, 3)

    def zero(self) -> Value:
        return const(0, "int32")

    def activation(self, b: KernelBuilder, memory: Memory, index: Value) -> Value:
        return _word(memory, index)

    def accumulate(self, acc: Value, activation: Value, weight: Value) -> Value:
        extend = "llvm.arm.sxtb16" if self.x_signed else "llvm.arm.uxtb16"
        turned = (activation >> const(8, "uint32")) | (activation << const(24, "uint32"))
        pairs = reinterpret(weight, "int32x2")
        for word, part in ((activation, 0), (turned, 1)):
            halves = intrinsic("int32", extend, reinterpret(word, "int32"))
            acc = intrinsic("int32", "llvm.arm.smlad", halves, shuffle([pairs], [part]), acc)
        return acc


@dataclass(frozen=True)
class Widening:
    """Plain 16-bit by 16-bit to 32-bit products, one channel a step: what every compiler target can vectorise."""

    x_signed: bool
    lanes: int
    step: int = 1
    weight_dtype: str = "int16"
    order: tuple[int, ...] = (0,)

    def zero(self) -> Value:
        return const(0, "int32", self.lanes)

    def activation(self, b: KernelBuilder, memory: Memory, index: Value) -> Value:
        return broadcast(cast(memory.load(index), "int16"), self.lanes)

    def accumulate(self, acc: Value, activation: Value, weight: Value) -> Value:
        return acc + cast(activation, "int32") * cast(weight, "int32")
