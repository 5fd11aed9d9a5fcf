"""Instruction sets that older machines of one family lack: LLVM's name, Linux's name, and where the CPU says so.

Only what LLVM's code generator may use in a kernel is listed: a machine without it would end in an illegal instruction.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

#: CPUID: LLVM feature -> (name in /proc/cpuinfo, leaf, subleaf, register (0 EAX .. 3 EDX), bit); Intel SDM vol. 2,
#: AMD APM vol. 3
X86: dict[str, tuple[str, int, int, int, int]] = {
    "sse3": ("pni", 1, 0, 2, 0),
    "ssse3": ("ssse3", 1, 0, 2, 9),
    "fma": ("fma", 1, 0, 2, 12),
    "sse4.1": ("sse4_1", 1, 0, 2, 19),
    "sse4.2": ("sse4_2", 1, 0, 2, 20),
    "movbe": ("movbe", 1, 0, 2, 22),
    "popcnt": ("popcnt", 1, 0, 2, 23),
    "avx": ("avx", 1, 0, 2, 28),
    "f16c": ("f16c", 1, 0, 2, 29),
    "bmi": ("bmi1", 7, 0, 1, 3),
    "avx2": ("avx2", 7, 0, 1, 5),
    "bmi2": ("bmi2", 7, 0, 1, 8),
    "avx512f": ("avx512f", 7, 0, 1, 16),
    "avx512dq": ("avx512dq", 7, 0, 1, 17),
    "avx512ifma": ("avx512ifma", 7, 0, 1, 21),
    "avx512cd": ("avx512cd", 7, 0, 1, 28),
    "avx512bw": ("avx512bw", 7, 0, 1, 30),
    "avx512vl": ("avx512vl", 7, 0, 1, 31),
    "avx512vbmi": ("avx512vbmi", 7, 0, 2, 1),
    "avx512vbmi2": ("avx512_vbmi2", 7, 0, 2, 6),
    "gfni": ("gfni", 7, 0, 2, 8),
    "vpclmulqdq": ("vpclmulqdq", 7, 0, 2, 10),
    "avx512vnni": ("avx512_vnni", 7, 0, 2, 11),
    "avx512bitalg": ("avx512_bitalg", 7, 0, 2, 12),
    "avx512vpopcntdq": ("avx512_vpopcntdq", 7, 0, 2, 14),
    "avx512fp16": ("avx512_fp16", 7, 0, 3, 23),
    "avxvnni": ("avx_vnni", 7, 1, 0, 4),
    "avx512bf16": ("avx512_bf16", 7, 1, 0, 5),
    "avxifma": ("avx_ifma", 7, 1, 0, 23),
    "avxvnniint8": ("avx_vnni_int8", 7, 1, 3, 4),
    "lzcnt": ("abm", 0x80000001, 0, 2, 5),
    "xop": ("xop", 0x80000001, 0, 2, 11),
    "fma4": ("fma4", 0x80000001, 0, 2, 16),
    "tbm": ("tbm", 0x80000001, 0, 2, 21),
}

_HWCAP, _HWCAP2 = 16, 26  # keys of the auxiliary vector, linux/auxvec.h
#: arch -> LLVM feature -> (name in /proc/cpuinfo, key of the auxiliary vector, bit); Linux' asm/hwcap.h of each
HWCAPS: dict[str, dict[str, tuple[str, int, int]]] = {
    "aarch64": {
        "neon": ("asimd", _HWCAP, 1),
        "fullfp16": ("asimdhp", _HWCAP, 10),
        "rdm": ("asimdrdm", _HWCAP, 12),
        "dotprod": ("asimddp", _HWCAP, 20),
        "sve": ("sve", _HWCAP, 22),
        "sve2": ("sve2", _HWCAP2, 1),
        "i8mm": ("i8mm", _HWCAP2, 13),
        "bf16": ("bf16", _HWCAP2, 14),
    },
    "arm": {
        "neon": ("neon", _HWCAP, 12),
        "vfp3": ("vfpv3", _HWCAP, 13),
        "vfp4": ("vfpv4", _HWCAP, 16),
        "hwdiv-arm": ("idiva", _HWCAP, 17),
        "hwdiv": ("idivt", _HWCAP, 18),
    },
    # /proc/cpuinfo gives one ISA string, so no names here; extensions of several letters are not in the vector
    "riscv64": {letter: ("", _HWCAP, ord(letter) - ord("a")) for letter in "macfdv"},
}


def checked_features(arch: str) -> frozenset[str]:
    """LLVM's names of all that this table knows of an architecture."""
    return frozenset(X86 if arch == "x86_64" else HWCAPS.get(arch, ()))


def missing_features(arch: str, features: Iterable[str]) -> tuple[str, ...]:
    """Those of a target's features that this machine, of the same architecture, is known to lack."""
    here = host_flags()
    if not here:  # a machine that lists no flags says nothing
        return ()
    names = {feature: entry[0] for feature, entry in (X86 if arch == "x86_64" else HWCAPS.get(arch, {})).items()}
    return tuple(f for f in sorted(features) if names.get(f) and names[f] not in here)


def host_flags() -> frozenset[str]:
    """What /proc/cpuinfo says the first core can do, in Linux's names; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return frozenset()
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return frozenset()
