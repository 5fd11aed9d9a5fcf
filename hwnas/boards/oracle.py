"""A benchmark as a device: a block takes exactly what a table says, a network the sum; nothing is timed.

    connection: oracle
    settings: {truth: latency_tables/raspberry-pi-5}    # a folder of tables as hwnas writes them, from where it is run

So a search is repeated on a device that is not here any more, or held to a truth that somebody made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.boards import Timed, null
from hwnas.engines import null as pricing
from hwnas.errors import HwnasError
from hwnas.paths import digest
from hwnas.table import LatencyTable

if TYPE_CHECKING:
    from hwnas.engines import Artefact
    from hwnas.measure.harness import Plan
    from hwnas.network import Network, Operator
    from hwnas.profile import DeviceProfile


class Board(null.Board):
    """HwnasError, before anything is measured, where the profile names no folder of tables."""

    def __init__(self, device: DeviceProfile, tables_dir: Path) -> None:
        super().__init__(device, tables_dir)
        named = (device.settings or {}).get("truth")
        if not named or not Path(str(named)).is_dir():
            raise HwnasError(
                f"device {device.name}: settings.truth must be a folder of latency tables, got {named!r}",
                hint="for example latency_tables/raspberry-pi-5",
            )
        self.truth = Path(str(named))

    def counts_energy(self) -> bool:
        return False

    def engine(self, name: str, threads: int, tables_dir: Path | None) -> pricing.Engine:
        return Engine(self.truth, name)

    def engine_version(self, name: str) -> str | None:
        return Engine(self.truth, name).version

    def time(
        self,
        programs: Sequence[Artefact],
        plan: Plan | None = None,
        quantities: Sequence[str] = ("latency",),
        beside: Sequence[Artefact] = (),
    ) -> list[Timed | Exception]:
        return super().time(programs, plan, ("latency",), beside)


class Engine(pricing.Engine):
    """Looks a block up in the tables `<engine>-<format>.csv`; one that they lack fails as a measurement would."""

    def __init__(self, truth: Path, name: str) -> None:
        self.truth, self.name = truth, name
        tables = {path.name: digest(path.read_bytes()) for path in sorted(truth.glob(f"{name}-*.csv"))}
        self.version = f"oracle {digest(tables)}"  # another truth is another engine: what is kept of it is stale

    def block(self, operator: Operator, folder: Path) -> Artefact:
        path = self.truth / f"{self.name}-{operator.precision}.csv"
        row = _table(path, path.stat().st_mtime_ns).rows.get(operator) if path.exists() else None
        if row is None or row.latency_us is None:
            raise HwnasError(f"{path} has no latency of {operator}")
        return pricing.priced(row.latency_us, 0.0)

    def network(self, network: Network, seed: int, folder: Path) -> Artefact:
        """The sum of its blocks: on this device tables predict exactly."""
        return pricing.priced(sum(self.block(o, folder).options["latency_us"] for o in network.operators), 0.0)


@lru_cache(maxsize=32)
def _table(path: Path, modified_ns: int) -> LatencyTable:
    return LatencyTable(path)
