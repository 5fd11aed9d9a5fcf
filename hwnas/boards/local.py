"""This machine: programs run in this process, in interleaved rounds, and energy is read from RAPL where it may be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hwnas.boards import Conditions, Timed
from hwnas.card import device_clock
from hwnas.engines import Artefact, Engine, engine_class
from hwnas.measure.energy import rapl_domains
from hwnas.measure.here import CANARY, time_here
from hwnas.probe import differences, probe_local

if TYPE_CHECKING:
    import numpy as np

    from hwnas.measure.harness import Plan
    from hwnas.profile import DeviceProfile

_CPU = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_ZONES = Path("/sys/class/thermal")


class Board:
    real: ClassVar[bool] = True
    here: ClassVar[bool] = True
    canary: Artefact | None = CANARY

    def __init__(self, device: DeviceProfile, tables_dir: Path) -> None:
        self.device, self.tables_dir = device, tables_dir

    def probe(self) -> DeviceProfile:
        return probe_local()

    def unreachable(self) -> str | None:
        """A profile says `connection: local` of the machine that it was probed on, and may have been copied."""
        different = differences(self.device)
        if not different:
            return None
        return f"device {self.device.name} is not this machine, which differs: {'; '.join(different)}"

    def conditions(self) -> Conditions:
        governor, khz = _text(_CPU / "scaling_governor"), _text(_CPU / "scaling_cur_freq")
        degrees = [text for zone in _ZONES.glob("thermal_zone*") if (text := _text(zone / "temp")) is not None]
        return Conditions(
            governor,
            int(khz) / 1e3 if khz and khz.isdigit() else None,
            max((int(text) / 1e3 for text in degrees if text.lstrip("-").isdigit()), default=None),
            os.getloadavg()[0],
        )

    def counts_energy(self) -> bool:
        return bool(rapl_domains())

    @contextmanager
    def lease(self, timeout_s: float | None = None) -> Iterator[None]:
        with device_clock(self.tables_dir, self.device, timeout_s):
            yield

    def engine(self, name: str, threads: int, tables_dir: Path | None) -> Engine:
        return engine_class(name)(self.device, threads, tables_dir)

    def engine_version(self, name: str) -> str | None:
        try:
            return engine_class(name).installed_version()
        except ImportError:
            return None

    def run(self, artefact: Artefact, inputs: np.ndarray) -> np.ndarray:
        return engine_class(artefact.engine).run(artefact, inputs)

    def time(
        self,
        programs: Sequence[Artefact],
        plan: Plan | None = None,
        quantities: Sequence[str] = ("latency",),
        beside: Sequence[Artefact] = (),
    ) -> list[Timed | Exception]:
        return time_here(programs, plan, quantities, beside)


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
