"""Probing: this machine's profile, from what its operating system says of it."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Iterable
from pathlib import Path

from hwnas import find
from hwnas.kernels.target import best_target, runnable_targets
from hwnas.profile import Cpu, DeviceProfile, Fact

_CPU_FOLDER = Path("/sys/devices/system/cpu/cpu0")

_USEFUL = ("sse4", "ssse3", "avx", "fma", "bmi", "popcnt", "f16c", "amx") + (
    "asimd",
    "neon",
    "sve",
    "i8mm",
    "bf16",
    "dotprod",
    "zb",
    "zv",
)
_ARM_TARGETS = (("aarch64-i8mm", "i8mm asimddp"), ("aarch64-dotprod", "asimddp"), ("aarch64", ""))


def probe_local() -> DeviceProfile:
    """This machine: model, cores, instruction sets, caches, memory, governor, and the compiler target it needs."""
    import psutil

    model, flags, source = _processor()
    caches = _caches()
    return DeviceProfile(
        format=1,
        name="local",
        description="the machine this runs on",
        connection="local",
        target=pick_target(platform.machine(), flags),
        engines=_engines(),
        cpu=Cpu(
            model=Fact[str](value=model, source=source),
            isa=Fact[list[str]](value=_shown(flags), source=source),
            cores=Fact[int](value=_usable_cores(), source="CPUs this process may use"),
            freq_mhz=_max_frequency(),
            l1d_bytes=caches.get(1),
            l2_bytes=caches.get(2),
            l3_bytes=caches.get(3),
            governor=_governor(),
        ),
        memory_bytes=Fact[int](value=int(psutil.virtual_memory().total), source="operating system, through psutil"),
    )


def _engines() -> list[str]:
    """Every engine but those that belong to a board of their own name, as the null engine does."""
    return [name for name in find.names("engines") if not find.has("boards", name)]


def differences(device: DeviceProfile) -> list[str]:
    """What tells this machine from the profile of one, in words; empty where the profile is this machine's.

    Only what the profile gives is compared, and not what may change on one machine: cores, memory, frequency, governor.
    """
    here, found = probe_local(), []
    if " ".join(device.cpu.model.value.split()).lower() != " ".join(here.cpu.model.value.split()).lower():
        found.append(f"processor {here.cpu.model.value}, not {device.cpu.model.value}")
    wanted, have = set(device.cpu.isa.value), set(here.cpu.isa.value)
    if wanted != have:
        parts = [("without", wanted - have), ("with", have - wanted)]
        found.append("instruction sets " + ", ".join(f"{word} {' '.join(sorted(p))}" for word, p in parts if p))
    for name in ("l1d_bytes", "l2_bytes", "l3_bytes"):
        said, is_ = getattr(device.cpu, name), getattr(here.cpu, name)
        if said is not None and (is_ is None or is_.value != said.value):
            found.append(f"{name} {is_.value if is_ else 'unknown'}, not {said.value}")
    if device.target not in _runnable(here.target):
        found.append(f"compiler target {here.target}, not {device.target}")
    return found


def _runnable(target: str) -> set[str]:
    """The targets whose code a machine of `target` runs: itself, and the less capable ones of its architecture."""
    return {"host", target, *runnable_targets(target)}


def pick_target(machine: str, flags: Iterable[str]) -> str:
    """The compiler target (hwnas/targets) of a machine with these CPU features; `host` where none fits."""
    return best_target(machine, flags) or "host"


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> tuple[str, list[str], str]:
    """(model, feature flags, source). /proc where there is one: py-cpuinfo starts processes and takes a second."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        fields: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
        flags = fields.get("flags") or fields.get("Features") or _riscv_extensions(fields.get("isa", ""))
        model = (
            fields.get("model name")
            or fields.get("Model")
            or fields.get("uarch")
            or _device_tree()
            or platform.machine()
        )
        return model, flags.split(), "/proc/cpuinfo"
    info = importlib.import_module("cpuinfo").get_cpu_info()
    flags_found = [str(flag) for flag in info.get("flags", [])]
    return str(info.get("brand_raw") or platform.processor() or platform.machine()), flags_found, "py-cpuinfo"


def _riscv_extensions(isa: str) -> str:
    """`rv64imafdcv_zba` -> 'i m a f d c v zba'."""
    single, _, rest = isa.removeprefix("rv64").removeprefix("rv32").partition("_")
    return " ".join([*single, *rest.split("_")])


def _device_tree() -> str | None:
    path = Path("/proc/device-tree/model")
    return path.read_text(errors="replace").rstrip("\0\n") if path.is_file() else None


def _shown(flags: list[str]) -> list[str]:
    """The vector and bit-counting features among the flags: the ones a kernel can use."""
    return sorted(flag for flag in set(flags) if flag.startswith(_USEFUL) or flag == "v")


def _caches() -> dict[int, Fact[int]]:
    """Level -> size of the data or unified cache that core 0 sees."""
    found: dict[int, Fact[int]] = {}
    for folder in sorted(_CPU_FOLDER.glob("cache/index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        factor = {"K": 1024, "M": 1024**2}.get(size[-1:], 1)
        if kind != "Instruction" and size.rstrip("KM").isdigit() and int(size.rstrip("KM")) > 0:
            found[int(level)] = Fact[int](value=int(size.rstrip("KM")) * factor, source=str(folder / "size"))
    return found


def _max_frequency() -> Fact[float] | None:
    path = _CPU_FOLDER / "cpufreq" / "cpuinfo_max_freq"
    try:
        return Fact[float](value=int(path.read_text()) / 1e3, source=str(path))
    except (OSError, ValueError):
        return None


def _governor() -> Fact[str] | None:
    path = _CPU_FOLDER / "cpufreq" / "scaling_governor"
    try:
        return Fact[str](value=path.read_text().strip(), source=str(path))
    except OSError:
        return None
