"""The machine a kernel is compiled for: a name or an LLVM-style string, parsed once into what kernels ask about.

Names are the files of `hwnas/targets` (dashes for underscores); what all targets of one instruction set share is in
`hwnas/architectures`.
"""

from __future__ import annotations

import functools
import platform
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hwnas import find
from hwnas.errors import HwnasError, nearest_names, unknown
from hwnas.kernels.instructions import host_flags, lacking
from hwnas.kernels.machine import Architecture, CompilerTarget

if TYPE_CHECKING:
    import tvm


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

    @property
    def architecture(self) -> Architecture:
        """What all targets of its instruction set share."""
        return architecture(self.arch)

    @property
    def board(self) -> str:
        """What the architecture's emulator of boards calls one with this CPU; empty where none is known."""
        alike = (t for t in compiler_targets().values() if (t.architecture, t.cpu) == (self.arch, self.cpu))
        return next((target.board for target in alike if target.board), "")

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
        bringing = self.architecture.fused
        return bringing is None or any(self.has(feature) for feature in bringing)

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
        return 128 if self.has_neon or self.has_rvv or self.has_simd128 else self.architecture.vector_bits

    @property
    def max_registers(self) -> int:
        return 32 if self.has_avx512bw else self.architecture.vector_registers

    @property
    def pointer_bits(self) -> int:
        return self.architecture.pointer_bits

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
    if target.architecture.tells_vector_bits:
        config["vector-width"] = target.vector_bits
    return tvm.target.Target(config)


def architecture(name: str) -> Architecture:
    """The instruction set of that name: `hwnas/architectures/<name>.py`."""
    found: Architecture = find.value("architectures", name, "ARCHITECTURE")
    return found


def compiler_targets() -> dict[str, CompilerTarget]:
    """Every named target, as users spell it ("x86-avx2"): `hwnas/targets/x86_avx2.py`."""
    return {_spelt(name): find.value("targets", name, "TARGET") for name in find.names("targets")}


def known_targets() -> tuple[str, ...]:
    """The names that `parse_target` accepts, `host` included."""
    return ("host", *map(_spelt, find.names("targets")))


def summary(name: str) -> str:
    """What a named target is, in a line."""
    return "the machine this runs on" if name == "host" else find.summary("targets", _file(name))


def _spelt(file: str) -> str:
    return file.replace("_", "-")


def _file(name: str) -> str:
    return name.replace("-", "_")


@functools.cache
def parse_target(text: str) -> Target:
    """Parse a name (`x86-avx2`), `host`, or `TRIPLE [-mcpu=CPU] [-mattr=+a,-b] [-mfloat-abi=hard] [-mabi=lp64d]`.

    A target without a name is tried in a process of its own, once, and the answer is kept: which features LLVM turns
    on (those that others imply too), and whether it compiles kernels for it. HwnasError where the text is malformed,
    names what LLVM does not know, or is a machine that no kernel or linker is for.
    """
    name = _host_target() if text == "host" else text
    if find.has("targets", _file(name)):
        return _named(text, find.value("targets", _file(name), "TARGET"))
    target = _split(text)
    for known in compiler_targets().values():
        same = _named(text, known)
        if replace(target, features=same.features, float_abi=same.float_abi) == same:
            return replace(target, features=same.features)
    from hwnas.kernels.target_check import checked_features_of

    return replace(target, features=checked_features_of(target))


def _named(text: str, known: CompilerTarget) -> Target:
    shared = architecture(known.architecture)
    return Target(
        text=text,
        arch=known.architecture,
        triple=known.triple,
        cpu=known.cpu,
        attributes=known.attributes,
        features=frozenset(known.features.split()),
        float_abi=shared.float_abi,
        abi=shared.abi,
    )


def refuse_lacking(target: Target) -> None:
    """HwnasError where a target lacks what every library of its architecture needs."""
    shared = target.architecture
    missing = sorted(set(shared.needed) - target.features)
    if missing:
        raise HwnasError(
            f"it lacks {', '.join(missing)}: {target.arch} libraries need {shared.needed_in_words}; name the CPU with "
            f"-mcpu, or take one of {', '.join(known_targets()[1:])}"
        )


def _split(text: str) -> Target:
    """The parts of an LLVM-style target string; of its features those that it switches on."""
    words = text.split()
    arch = architecture_of(words[0]) if words and "-" in words[0] else None
    if arch is None:
        raise unknown("target", text, known_targets())
    shared = architecture(arch)
    if not re.fullmatch(shared.triple, words[0]):
        needs = f"; {arch} libraries need {shared.needed_in_words}" if shared.needed else ""
        raise HwnasError(
            f"target {text!r}: nothing here links for {words[0]}{needs}",
            nearest=tuple(name for name, known in compiler_targets().items() if known.architecture == arch),
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
    for key, allowed in {"-mfloat-abi": shared.float_abi, "-mabi": shared.abi}.items():  # what is linked against
        if options[key] not in ("", allowed):
            what = f"must be {allowed}" if allowed else "has no meaning"
            raise HwnasError(f"target {text!r}: {key}={options[key]} {what} on {arch}")
    attributes = tuple(part for part in options["-mattr"].split(",") if part)
    for attribute in attributes:
        if attribute[0] not in "+-" or len(attribute) == 1:
            raise HwnasError(f"target {text!r}: feature {attribute!r} must start with + or -")
    return Target(
        text=text,
        arch=arch,
        triple=words[0],
        cpu=options["-mcpu"] or "generic",
        attributes=attributes,
        features=frozenset(attribute[1:] for attribute in attributes if attribute[0] == "+"),
        float_abi=options["-mfloat-abi"],
        abi=options["-mabi"] or shared.abi,
    )


def architecture_of(triple: str) -> str | None:
    """The architecture of a triple; what only resembles one (armeb, aarch64_be, wasm64) fails at the whole triple."""
    name = triple.partition("-")[0]
    begins = {prefix: arch for arch in find.names("architectures") for prefix in architecture(arch).prefixes}
    fitting = [prefix for prefix in begins if name.startswith(prefix)]
    return begins[max(fitting, key=len)] if fitting else None  # arm64 before arm


def architecture_told(text: str, isa: Collection[str] = ()) -> Architecture | None:
    """The instruction set of a target, found without LLVM; of `host` the one that has an instruction of `isa`, named as
    Linux does. None where nothing tells."""
    if text == "host":
        every = map(architecture, find.names("architectures"))
        return next((one for one in every if any(known.linux in isa for known in one.instructions.values())), None)
    if find.has("targets", _file(text)):
        return architecture(find.value("targets", _file(text), "TARGET").architecture)
    name = architecture_of(text)
    return None if name is None else architecture(name)


# -- which target a machine is -------------------------------------------------------------------------------------


def host_architecture(machine: str) -> str | None:
    """The architecture of a machine that calls itself so (`platform.machine()`); None where there is none."""
    names = find.names("architectures")
    return next((arch for arch in names if machine.lower() in architecture(arch).hosts), None)


def best_target(machine: str, flags: Iterable[str]) -> str | None:
    """The most capable target of which a machine has every instruction set, by what its `/proc/cpuinfo` lists."""
    arch, have = host_architecture(machine), frozenset(flags)
    fitting = [name for name in _family(arch) if not lacking(architecture(arch or ""), _features(name), have)]
    return max(fitting, key=lambda name: len(_features(name)), default=None)


def runnable_targets(name: str) -> set[str]:
    """The named targets whose code a machine of this target runs: those of its architecture with no more features."""
    if name not in known_targets()[1:]:
        return set()
    here = compiler_targets()[name]
    return {
        other
        for other, known in compiler_targets().items()
        if known.architecture == here.architecture and set(known.features.split()) <= set(here.features.split())
    }


def portable_target(arch: str) -> str | None:
    """The target that a library for strangers' machines of an architecture is built for, where there is one."""
    known = compiler_targets().items()
    return next((name for name, target in known if target.portable and target.architecture == arch), None)


def _family(arch: str | None) -> list[str]:
    return [name for name, known in compiler_targets().items() if known.architecture == arch and not known.portable]


def _features(name: str) -> list[str]:
    return compiler_targets()[name].features.split()


def _host_target() -> str:
    """The best target of the machine this runs on; where its flags are not to be had, the least of its architecture."""
    machine = platform.machine()
    family = _family(host_architecture(machine))
    if not family:
        known = ", ".join(known_targets()[1:])
        raise HwnasError(f"no kernel target is known for a {machine.lower()!r} host", hint=f"name one of: {known}")
    return best_target(machine, host_flags()) or min(family, key=lambda name: len(_features(name)))
