"""Energy: Linux's RAPL counters where this process may read them. A figure carries its source, or there is none."""

from __future__ import annotations

import math
from pathlib import Path

from hwnas.measure.harness import Runner

POWERCAP = Path("/sys/class/powercap")
# RAPL counters are updated about once a millisecond: over 100 ms the error of both ends stays near 2 %.
LEAST_US = 100_000.0


def rapl_domains(root: Path = POWERCAP) -> list[Path]:
    """The package-level counters that can be read; empty without RAPL or without the permission."""
    found = []
    for folder in sorted(root.glob("intel-rapl:*")):
        if folder.name.count(":") == 1 and _read(folder / "energy_uj") is not None:
            found.append(folder)
    return found


def rapl_energy_uj(runner: Runner, latency_us: float, root: Path = POWERCAP) -> tuple[float, str] | None:
    """Microjoules of one run, over at least 100 ms of runs, and the source; None where there is no counter.

    The whole package is counted, idle power included: that is what the machine spends while the network runs.
    """
    domains = rapl_domains(root)
    if not domains:
        return None
    repeats = max(1, math.ceil(LEAST_US / max(latency_us, 0.01)))
    before = [_read(folder / "energy_uj") for folder in domains]
    runner.run_us(repeats)
    after = [_read(folder / "energy_uj") for folder in domains]
    total = 0.0
    for folder, first, last in zip(domains, before, after, strict=True):
        if first is None or last is None:
            return None
        wrap = _read(folder / "max_energy_range_uj") or 0
        total += last - first if last >= first else last + wrap - first
    if total <= 0:
        return None  # a counter that stands still is no measurement
    return total / repeats, f"RAPL package, idle power included, {len(domains)} domain(s), {repeats} runs"


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
