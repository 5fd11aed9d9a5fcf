"""The null device: exact made-up costs, no clock and no engine; every engine's programs cost what the profile says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hwnas.boards import Conditions, Timed
from hwnas.card import device_clock
from hwnas.errors import HwnasError
from hwnas.measure.here import time_here

if TYPE_CHECKING:
    import numpy as np

    from hwnas.engines import Artefact
    from hwnas.engines import null as pricing
    from hwnas.measure.harness import Plan
    from hwnas.profile import DeviceProfile


class Board:
    real: ClassVar[bool] = False
    here: ClassVar[bool] = False
    canary: Artefact | None = None

    def __init__(self, device: DeviceProfile, tables_dir: Path) -> None:
        self.device, self.tables_dir = device, tables_dir

    def probe(self) -> DeviceProfile:
        return self.device

    def unreachable(self) -> str | None:
        return None

    def conditions(self) -> Conditions:
        return Conditions()

    def counts_energy(self) -> bool:
        return True

    @contextmanager
    def lease(self, timeout_s: float | None = None) -> Iterator[None]:
        with device_clock(self.tables_dir, self.device, timeout_s):
            yield

    def engine(self, name: str, threads: int, tables_dir: Path | None) -> pricing.Engine:
        from hwnas.engines.null import Engine

        return Engine(self.device, threads, tables_dir)

    def engine_version(self, name: str) -> str | None:
        from hwnas.engines.null import Engine

        return Engine.version

    def run(self, artefact: Artefact, inputs: np.ndarray) -> np.ndarray:
        raise HwnasError(f"device {self.device.name} has made-up costs, and runs no model", hint="--device local")

    def time(
        self,
        programs: Sequence[Artefact],
        plan: Plan | None = None,
        quantities: Sequence[str] = ("latency",),
        beside: Sequence[Artefact] = (),
    ) -> list[Timed | Exception]:
        found = time_here(programs, plan, beside=beside)
        if "energy" not in quantities:
            return found
        return [
            outcome
            if isinstance(outcome, Exception)
            else Timed(outcome.timing, (float(program.options["energy_uj"]), "made up"))
            for program, outcome in zip((*programs, *beside), found, strict=True)
        ]
