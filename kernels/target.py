"""The machine a kernel is compiled for: an alias or an LLVM-style string, parsed once into what kernels ask about."""

from __future__ import annotations

import functools
import platform
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hwnas.errors import HwnasError, nearest_names, unknown
from hwnas.kernels.instructions import X86, host_flags

if TYPE_CHECKING:
    import tvm

_AVX2_FEATURES = "sse2,sse3,ssse3,sse4.1,sse4.2,popcnt,avx,avx2,fma,f16c,bmi,bmi2,lzcnt,movbe"
_AVX512_FEATURES = f"{_AVX2_FEATURES},avx512f,avx512bw,avx512cd,avx512dq,avx512vl"

# alias -> the full text it stands for. `-prefer-256-bit`: Intel's tuning would otherwise split every 512-bit
# vector in two; the feature lists are spelled out so that parsing needs no LLVM.
# `x86` is what a library for strangers' machines is built for: the level x86-64-v3 (AVX2, FMA, BMI2), which Intel's
# processors have since 2013 and AMD's since 2015; the library itself says where it is missing.
ALIASES: dict[str, str] = {
    "x86": "x86_64-linux-gnu -mcpu=x86-64-v3",
    "x86-avx512-vnni": "x86_64-linux-gnu -mcpu=icelake-server -mattr=-prefer-256-bit",
    "x86-avx512": "x86_64-linux-gnu -mcpu=skylake-avx512 -mattr=-prefer-256-bit",
    "x86-avx2": "x86_64-linux-gnu -mcpu=haswell",
    "x86-ssse3": "x86_64-linux-gnu -mcpu=core2",
    "aarch64": "aarch64-linux-gnu -mcpu=cortex-a53",
    "aarch64-dotprod": "aarch64-linux-gnu -mcpu=cortex-a76",
    "aarch64-i8mm": "aarch64-linux-gnu -mcpu=cortex-a76 -mattr=+i8mm",
    "armv7-neon": "armv7a-linux-gnueabihf -mcpu=cortex-a7 -mfloat-abi=hard",
    "riscv64": "riscv64-linux-gnu -mcpu=generic-rv64 -mattr=+m,+a,+f,+d,+c -mabi=lp64d",
    "riscv64-v": "riscv64-linux-gnu -mcpu=generic-rv64 -mattr=+m,+a,+f,+d,+c,+zba,+zbb,+v -mabi=lp64d",
    "wasm32-simd128": "wasm32-unknown-unknown -mcpu=generic -mattr=+simd128,+bulk-memory",
    "cortex-m4": "thumbv7em-none-eabihf -mcpu=cortex-m4 -mfloat-abi=hard",
    "cortex-m7": "thumbv7em-none-eabihf -mcpu=cortex-m7 -mfloat-abi=hard",
}

# What kernels and the library's own check look at, for the CPUs the aliases name; a test holds it to what LLVM says.
# Any other target's features are asked of LLVM.
_CPU_FEATURES: dict[str, str] = {
    "icelake-server": f"{_AVX512_FEATURES},avx512ifma,avx512vbmi,avx512vbmi2,avx512vnni,avx512bitalg,avx512vpopcntdq,"
    "gfni,vpclmulqdq",
    "skylake-avx512": _AVX512_FEATURES,
    "haswell": _AVX2_FEATURES,
    "x86-64-v3": _AVX2_FEATURES,
    "core2": "sse2,sse3,ssse3",
    "cortex-a53": "neon,fp-armv8",
    "cortex-a76": "neon,fp-armv8,dotprod,fullfp16,rdm",
    "cortex-a7": "neon,vfp3,vfp4,hwdiv,hwdiv-arm",
    "generic-rv64": "i",
    "cortex-m4": "dsp,vfp4d16sp",
    "cortex-m7": "dsp,fp-armv8d16",
    "generic": "",
}

# The triples that something here links for. Other ABIs and object formats would end in a linker's complaint.
_TRIPLES: dict[str, str] = {
    "x86_64": r"x86_64(-\w+)?-linux(-gnu|-musl)?",
    "aarch64": r"(aarch64|arm64)(-\w+)?-linux(-gnu|-musl)?",
    "arm": r"armv[78][a-z]*(-\w+)?-linux-(gnu|musl)eabihf",
    "riscv64": r"riscv64(-\w+)?-linux(-gnu|-musl)?",
    "wasm32": r"wasm32(-\w+)?-(unknown|wasi)",
    "thumb": r"thumbv(7em|8m\.main|8\.1m\.main)-none-eabihf",
}

# `arm64` before `arm`; what only resembles one (armeb, aarch64_be, wasm64) fails at the triple
_PREFIXES = {"arm64": "aarch64", **{arch: arch for arch in _TRIPLES}}

# What the C of a library, its C library and the calling convention need, whatever the kernels do.
_NEEDED: dict[str, tuple[str, str]] = {
    "x86_64": ("64bit,sse2", "a 64-bit CPU"),
    "aarch64": ("neon,fp-armv8", "NEON"),
    "arm": ("vfp3d16sp", "a VFPv3 unit"),
    "riscv64": ("m,a,f,d,c", "rv64gc"),
    "thumb": ("dsp,vfp2sp", "DSP instructions and a float unit (Cortex-M4F, M7, M33F, M55): requantising is float32"),
}


@dataclass(frozen=True)
class Target:
    """One compilation target.

    `features` holds LLVM feature names without the sign; `vector_bits` is the widest vector that kernels use
    (32 where there is none) and `max_registers` how many of them there are.
    """

    text: str
    arch: str
    triple: str
    cpu: str
    attributes: tuple[str, ...]
    features: frozenset[str]
    float_abi: str
    abi: str

    def has(self, feature: str) -> bool:
        """True where LLVM's `feature` (without a sign) is on."""
        return feature in self.features

    @property
    def has_vnni(self) -> bool:
        """512-bit VPDPBUSD."""
        return self.has("avx512vnni") and self.has_avx512bw

    @property
    def has_vpopcntdq(self) -> bool:
        """512-bit VPOPCNTD/Q."""
        return self.has("avx512vpopcntdq") and self.has_avx512bw

    @property
    def has_avx512bw(self) -> bool:
        return self.has("avx512bw") and self.has("avx512vl")

    @property
    def has_avx2(self) -> bool:
        return self.has("avx2")

    @property
    def has_ssse3(self) -> bool:
        return self.has("ssse3")

    @property
    def has_fma(self) -> bool:
        """A fused multiply-add instruction exists, so a product and a sum may be contracted by LLVM."""
        if self.arch == "x86_64":
            return self.has("fma")
        return self.arch not in ("wasm32", "thumb", "riscv32") or self.has("vfp4d16sp") or self.has("fp-armv8d16")

    @property
    def has_neon(self) -> bool:
        return self.has("neon") and self.arch in ("aarch64", "arm")

    @property
    def has_dotprod(self) -> bool:
        return self.has("dotprod") and self.arch == "aarch64"

    @property
    def has_i8mm(self) -> bool:
        return self.has("i8mm") and self.arch == "aarch64"

    @property
    def has_rvv(self) -> bool:
        """RISC-V vectors of at least 128 bits."""
        return self.arch.startswith("riscv") and (self.has("v") or self.has("zvl128b"))

    @property
    def has_simd128(self) -> bool:
        return self.arch == "wasm32" and self.has("simd128")

    @property
    def vector_bits(self) -> int:
        if self.has_avx512bw:
            return 512
        if self.has_avx2:
            return 256
        if self.arch == "x86_64" or self.has_neon or self.has_rvv or self.has_simd128:
            return 128
        return 32

    @property
    def max_registers(self) -> int:
        if self.has_avx512bw or self.arch == "aarch64" or self.arch.startswith("riscv"):
            return 32
        return 12 if self.arch == "thumb" else 16

    @property
    def pointer_bits(self) -> int:
        return 64 if self.arch in ("x86_64", "aarch64", "riscv64") else 32

    def tvm(self) -> tvm.target.Target:
        """The TVM target that generates code for this machine (imports TVM)."""
        return _tvm_target(self)


@functools.cache
def _tvm_target(target: Target) -> tvm.target.Target:
    import tvm

    config: dict[str, object] = {"kind": "llvm", "mtriple": target.triple, "mcpu": target.cpu}
    if target.attributes:
        config["mattr"] = list(target.attributes)
    if target.float_abi:
        config["mfloat-abi"] = target.float_abi
    if target.abi:
        config["mabi"] = target.abi
    if target.arch in ("wasm32", "thumb"):
        config["vector-width"] = target.vector_bits  # otherwise TVM guesses, with a warning a build
    return tvm.target.Target(config)


@functools.cache
def parse_target(text: str) -> Target:
    """Parse an alias (`x86-avx2`), `host`, or `TRIPLE [-mcpu=CPU] [-mattr=+a,-b] [-mfloat-abi=hard] [-mabi=lp64d]`.

    A target that is no alias is tried in a process of its own, once, and the answer is kept: which features LLVM turns
    on (those that others imply too), and whether it compiles kernels for it. HwnasError where the text is malformed,
    names what LLVM does not know, or is a machine that no kernel or linker is for.
    """
    full = _host_text() if text == "host" else ALIASES.get(text, text)
    target = _split(text, full)
    if full in ALIASES.values():
        return target
    from hwnas.kernels.target_check import checked_features_of

    return replace(target, features=checked_features_of(target))


def refuse_lacking(target: Target) -> None:
    """HwnasError where a target lacks what every library of its architecture needs."""
    needed, what = _NEEDED.get(target.arch, ("", ""))
    missing = sorted(set(filter(None, needed.split(","))) - target.features)
    if missing:
        raise HwnasError(
            f"it lacks {', '.join(missing)}: {target.arch} libraries need {what}; name the CPU with -mcpu, "
            f"or take one of {', '.join(ALIASES)}"
        )


def _split(text: str, full: str) -> Target:
    """The parts of a target string, and of its features those that the table here knows."""
    words = full.split()
    arch = _arch_of(words[0]) if words and "-" in words[0] else None
    if arch is None:
        raise _unknown_target(text)
    if not re.fullmatch(_TRIPLES[arch], words[0]):
        needs = f"; {arch} libraries need {_NEEDED[arch][1]}" if arch in _NEEDED else ""
        raise HwnasError(
            f"target {text!r}: nothing here links for {words[0]}{needs}",
            nearest=tuple(a for a, known in ALIASES.items() if _arch_of(known) == arch),
            hint="triples end in linux-gnu (x86_64, aarch64, riscv64), linux-gnueabihf (armv7a) or none-eabihf (thumb)",
        )
    options = {"-mcpu": "", "-mattr": "", "-mfloat-abi": "", "-mabi": ""}
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key not in options or not re.fullmatch(r"[\w.,+-]+", value):
            raise HwnasError(
                f"target {text!r}: option {word!r} is not one of {', '.join(sorted(options))} with a value",
                nearest=nearest_names(key, options),
            )
        options[key] = value
    _check_abi(text, arch, options)
    attributes = tuple(part for part in options["-mattr"].split(",") if part)
    for attribute in attributes:
        if attribute[0] not in "+-" or len(attribute) == 1:
            raise HwnasError(f"target {text!r}: feature {attribute!r} must start with + or -")
    cpu = options["-mcpu"] or "generic"
    return Target(
        text=text,
        arch=arch,
        triple=words[0],
        cpu=cpu,
        attributes=attributes,
        features=_listed_features(cpu, attributes),
        float_abi=options["-mfloat-abi"],
        abi=options["-mabi"] or ("lp64d" if arch == "riscv64" else ""),
    )


def _check_abi(text: str, arch: str, options: dict[str, str]) -> None:
    """The calling conventions that what links the libraries uses."""
    only = {"-mfloat-abi": "hard" if arch in ("arm", "thumb") else "", "-mabi": "lp64d" if arch == "riscv64" else ""}
    for key, allowed in only.items():
        if options[key] not in ("", allowed):
            what = f"must be {allowed}" if allowed else "has no meaning"
            raise HwnasError(f"target {text!r}: {key}={options[key]} {what} on {arch}")


def known_targets() -> tuple[str, ...]:
    """The aliases that `parse_target` accepts, `host` included."""
    return ("host", *ALIASES)


def _unknown_target(text: str) -> HwnasError:
    return unknown("target", text, known_targets())


def _arch_of(triple: str) -> str | None:
    name = triple.split()[0].partition("-")[0] if triple.split() else ""
    return next((arch for prefix, arch in _PREFIXES.items() if name.startswith(prefix)), None)


def _listed_features(cpu: str, attributes: tuple[str, ...]) -> frozenset[str]:
    """An alias's features: its CPU's in the table, and what it adds; `v` implies vectors of 128 bits."""
    on = {name for name in _CPU_FEATURES.get(cpu, "").split(",") if name}
    on |= {attribute[1:] for attribute in attributes if attribute[0] == "+"}
    return frozenset(on | {"zvl128b"} if "v" in on else on)


def _host_text() -> str:
    """The best alias for the machine this runs on, from the features its kernel reports."""
    machine = platform.machine().lower()
    flags = host_flags()
    if machine in ("x86_64", "amd64"):
        return ALIASES[_host_x86(flags)]
    if machine in ("aarch64", "arm64"):
        alias = "aarch64-i8mm" if "i8mm" in flags else "aarch64-dotprod" if "asimddp" in flags else "aarch64"
        return ALIASES[alias]
    if machine.startswith("armv7") and "neon" in flags:
        return ALIASES["armv7-neon"]
    if machine == "riscv64":
        return ALIASES["riscv64"]
    raise HwnasError(f"no kernel target is known for a {machine!r} host", hint=f"name one of: {', '.join(ALIASES)}")


def _host_x86(flags: frozenset[str]) -> str:
    """The widest alias whose every instruction set this machine lists."""
    for alias in ("x86-avx512-vnni", "x86-avx512", "x86-avx2"):
        wanted = _split(alias, ALIASES[alias]).features & X86.keys()
        if {X86[feature][0] for feature in wanted} <= flags:
            return alias
    return "x86-ssse3"
