"""The machine a kernel is compiled for: an alias or an LLVM-style string, parsed once into what kernels ask about."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import HwnasError, nearest_names, unknown

if TYPE_CHECKING:
    import tvm

_AVX2_FEATURES = "sse2,sse3,ssse3,sse4.1,sse4.2,popcnt,avx,avx2,fma,bmi,bmi2"
_AVX512_FEATURES = f"{_AVX2_FEATURES},avx512f,avx512bw,avx512cd,avx512dq,avx512vl"

# alias -> the full text it stands for. `-prefer-256-bit`: Intel's tuning would otherwise split every 512-bit
# vector in two; the feature lists are spelled out so that parsing needs no LLVM.
ALIASES: dict[str, str] = {
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

# What the kernels look at, for the CPUs the aliases name; any other CPU's features are asked of LLVM.
_CPU_FEATURES: dict[str, str] = {
    "icelake-server": f"{_AVX512_FEATURES},avx512vbmi,avx512vbmi2,avx512vnni,avx512bitalg,avx512vpopcntdq",
    "skylake-avx512": _AVX512_FEATURES,
    "haswell": _AVX2_FEATURES,
    "core2": "sse2,sse3,ssse3",
    "cortex-a53": "neon,fp-armv8",
    "cortex-a76": "neon,fp-armv8,dotprod,fullfp16",
    "cortex-a7": "neon,vfp4",
    "generic-rv64": "i",
    "cortex-m4": "dsp,vfp4d16sp",
    "cortex-m7": "dsp,fp-armv8d16",
    "generic": "",
}

_ARCHES = {
    "x86_64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "thumb": "thumb",
    "arm": "arm",
    "riscv32": "riscv32",
    "riscv64": "riscv64",
    "wasm32": "wasm32",
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

    Raises HwnasError that lists the known aliases where the text is neither.
    """
    words = (_host_text() if text == "host" else ALIASES.get(text, text)).split()
    if not words or "-" not in words[0]:
        raise _unknown_target(text)
    arch = _arch_of(words[0])
    if arch is None:
        raise _unknown_target(text)
    options = {"-mcpu": "", "-mattr": "", "-mfloat-abi": "", "-mabi": ""}
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key not in options or not value:
            raise HwnasError(
                f"target {text!r}: option {word!r} is not one of {', '.join(sorted(options))} with a value",
                nearest=nearest_names(key, options),
            )
        options[key] = value
    attributes = tuple(part for part in options["-mattr"].split(",") if part)
    for attribute in attributes:
        if attribute[0] not in "+-":
            raise HwnasError(f"target {text!r}: feature {attribute!r} must start with + or -")
    cpu = options["-mcpu"] or "generic"
    return Target(
        text=text,
        arch=arch,
        triple=words[0],
        cpu=cpu,
        attributes=attributes,
        features=_features(words[0], cpu, attributes),
        float_abi=options["-mfloat-abi"],
        abi=options["-mabi"],
    )


def known_targets() -> tuple[str, ...]:
    """The aliases that `parse_target` accepts, `host` included."""
    return ("host", *ALIASES)


def _unknown_target(text: str) -> HwnasError:
    return unknown("target", text, known_targets())


def _arch_of(triple: str) -> str | None:
    name = triple.partition("-")[0]
    for prefix, arch in _ARCHES.items():
        if name.startswith(prefix):
            return arch
    return None


def _features(triple: str, cpu: str, attributes: tuple[str, ...]) -> frozenset[str]:
    on = set(_cpu_features(triple, cpu))
    for attribute in attributes:
        (on.add if attribute[0] == "+" else on.discard)(attribute[1:])
    if "v" in on:
        on.add("zvl128b")
    return frozenset(on)


def _cpu_features(triple: str, cpu: str) -> frozenset[str]:
    if cpu == "generic" and triple.startswith(("aarch64", "arm64")):
        return frozenset({"neon", "fp-armv8"})
    if cpu == "generic" and triple.startswith("x86_64"):
        return frozenset({"sse2"})
    if cpu in _CPU_FEATURES:
        return frozenset(_CPU_FEATURES[cpu].split(",")) - {""}
    from tvm.target import Target as TvmTarget
    from tvm.target import codegen

    if not codegen.llvm_is_valid_cpu(cpu, triple):
        known = sorted(str(name) for name in codegen.llvm_get_cpu_archlist(_probe(triple)))
        raise HwnasError(f"LLVM has no CPU {cpu!r} for {triple}", nearest=nearest_names(cpu, known))
    found = codegen.llvm_get_cpu_features(TvmTarget({"kind": "llvm", "mtriple": triple, "mcpu": cpu}))
    return frozenset(str(name) for name in found)


def _probe(triple: str) -> tvm.target.Target:
    from tvm.target import Target as TvmTarget

    return TvmTarget({"kind": "llvm", "mtriple": triple, "mcpu": "generic"})


def _host_text() -> str:
    """The best alias for the machine this runs on, from the features its kernel reports."""
    machine = platform.machine().lower()
    flags = _host_flags()
    if machine in ("x86_64", "amd64"):
        return ALIASES[_host_x86(flags)]
    if machine in ("aarch64", "arm64"):
        alias = "aarch64-i8mm" if "i8mm" in flags else "aarch64-dotprod" if "asimddp" in flags else "aarch64"
        return ALIASES[alias]
    if machine.startswith("armv7") and "neon" in flags:
        return ALIASES["armv7-neon"]
    if machine == "riscv64":
        return ALIASES["riscv64"]
    raise HwnasError(
        f"no kernel target is known for a {machine!r} host", hint=f"name one of: {', '.join(ALIASES)}"
    )


def _host_x86(flags: frozenset[str]) -> str:
    if {"avx512bw", "avx512vl", "avx512dq", "avx512cd"} <= flags:
        return "x86-avx512-vnni" if {"avx512_vnni", "avx512_vpopcntdq", "avx512_bitalg"} <= flags else "x86-avx512"
    if {"avx2", "fma", "bmi2"} <= flags:
        return "x86-avx2"
    return "x86-ssse3"


def _host_flags() -> frozenset[str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return frozenset()
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return frozenset()
