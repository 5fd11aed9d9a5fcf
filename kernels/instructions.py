"""Instruction sets that older machines of one family lack: what this machine says that it has.

Each architecture lists those that LLVM's code generator may use in a kernel (hwnas/architectures): a machine without
one would end in an illegal instruction.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hwnas import find
from hwnas.kernels.machine import Architecture


def checked_features(arch: str) -> frozenset[str]:
    """LLVM's names of all that is known of an architecture."""
    return frozenset(find.value("architectures", arch, "ARCHITECTURE").instructions)


def lacking(architecture: Architecture, features: Iterable[str], flags: frozenset[str]) -> tuple[str, ...]:
    """Those of the features that a machine whose `/proc/cpuinfo` lists `flags` is known to lack."""
    known = architecture.instructions
    return tuple(f for f in sorted(features) if f in known and known[f].linux not in flags)


def missing_features(arch: str, features: Iterable[str]) -> tuple[str, ...]:
    """Those of a target's features that this machine, of the same architecture, is known to lack."""
    here = host_flags()
    if not here or not find.has("architectures", arch):  # a machine that lists no flags says nothing
        return ()
    return lacking(find.value("architectures", arch, "ARCHITECTURE"), features, here)


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
