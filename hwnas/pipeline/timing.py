"""Stage: every exported file timed on the device, what it holds read from it, and some table rows timed again."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hwnas.boards import QUANTITIES, outcomes_of
from hwnas.errors import HwnasError
from hwnas.measure.backend import backend_for, why_not_here
from hwnas.measure.harness import Timing
from hwnas.measure.onnx_file import constant_bytes
from hwnas.measure.statistics import STATISTICS, of_loads
from hwnas.network import Operator
from hwnas.pipeline import tables
from hwnas.pipeline.job import Job
from hwnas.pipeline.shipping import Shipped

LOADS = 3  # where an engine's memory happens to lie can slow a file for as long as it stays loaded
# A table of which the winners read next to nothing (one conversion at the end of an INT8 net takes a tenth of a
# microsecond) tells the grain of one short timing, not the machine's drift.
DRIFT_WEIGHT = 0.1
# The rows timed again: the dearest blocks of the winners, where a drift matters most, and enough for a median.
DRIFT_ROWS = 4
DRIFT_LOADS = 2  # as many as a row has at least (hwnas.measure.fill)
DRIFT_LIMIT = 0.10  # the error that predictions are graded on


@dataclass(frozen=True)
class Measured:
    """An exported file as measured: microseconds, bytes, microjoules.

    `latencies_us` has all four statistics, each the median over the loads. `weight_bytes` are the constants in the file
    or library, `file_bytes` what is copied to the device. `memory_bytes` is the arena a library asks for; of a file for
    an engine that places its tensors itself it is an estimate from shapes, and `arena_bytes` is None.

    Where the device is not this machine `not_timed` says so: then `loads` and `latencies_us` are empty, and a limit on
    latency or energy is judged on `predicted`, by quantity, from the device's tables. What no device can measure (MACs)
    is always counted, and in `predicted`.
    """

    loads: tuple[Timing, ...]
    latencies_us: dict[str, float]
    weight_bytes: int
    file_bytes: int
    arena_bytes: int | None
    memory_bytes: int
    energy_uj: float | None
    energy_source: str
    not_timed: str | None = None
    predicted: Mapping[str, float] = field(default_factory=dict)

    def of(self, quantity: str, statistic: str) -> float | None:
        """What a limit on this quantity bounds; None where it is not known."""
        values: Mapping[str, float | None] = {
            "latency": self.latencies_us.get(statistic, self.predicted.get("latency")),
            "energy": self.predicted.get("energy") if self.not_timed else self.energy_uj,
            "size": self.weight_bytes,
            "peak_memory": self.memory_bytes,
        }
        return values.get(quantity, self.predicted.get(quantity))

    @property
    def samples(self) -> int | None:
        return None if self.not_timed else sum(len(load.samples_us) for load in self.loads)

    def record(self) -> dict[str, Any]:
        """For the manifest; without latencies where none was timed, so that what the device itself measured stays."""
        latencies = {"measured_us" if name == "min" else f"{name}_us": us for name, us in self.latencies_us.items()}
        runs = {"timed_samples": self.samples, "runs": sum(load.runs for load in self.loads)} if self.loads else {}
        return {
            "not_timed": self.not_timed,
            **latencies,
            **runs,
            "weight_bytes": self.weight_bytes,
            "file_bytes": self.file_bytes,
            "arena_bytes": self.arena_bytes,
            "memory_bytes": self.memory_bytes,
            "energy_uj": self.energy_uj,
            "energy_source": self.energy_source,
        }


def time_again(job: Job, shipped: Sequence[Shipped], manifests: Sequence[Mapping[str, Any]]) -> list[Measured]:
    """The exported files on the device, interleaved, each loaded afresh `LOADS` times (see docs/measurement.md); where
    the device is not this machine nothing is timed, and each file has its predictions."""
    if why_not_here(job.device) is not None:
        return [
            _counted(job, one, _untimed(job, one, manifest)) for one, manifest in zip(shipped, manifests, strict=True)
        ]
    taken: list[list[Timing]] = [[] for _ in shipped]
    energies: list[tuple[float, str] | None] = []
    with job.stage("time"):
        config = job.config
        backends = {s.engine: backend_for(s.engine, job.device, config.threads, config.tables) for s in shipped}
        programs = [backends[s.engine].engine.built(s.artefact, s.network) for s in shipped]
        for number in range(LOADS if programs else 0):
            last = number == LOADS - 1
            board = backends[shipped[0].engine].board
            # Processes that measure on one device take turns: side by side they would time each other.
            with board.lease():
                outcomes = outcomes_of(board, programs, None, QUANTITIES if last else QUANTITIES[:1])
            for one, timings, outcome in zip(shipped, taken, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    raise HwnasError(f"{one.artefact} could not be timed: {outcome}")
                timings.append(outcome.timing)
                energies += [outcome.energy] if last else []
    return [
        _counted(job, one, _measured(one, manifest, tuple(timings), energy))
        for one, manifest, timings, energy in zip(shipped, manifests, taken, energies, strict=True)
    ]


def _measured(
    shipped: Shipped, manifest: Mapping[str, Any], loads: tuple[Timing, ...], energy: tuple[float, str] | None
) -> Measured:
    held = contents(shipped)
    return Measured(
        loads,
        {name: of_loads(loads, name) for name in STATISTICS} if loads else {},
        held["weight_bytes"],
        held["file_bytes"],
        held.get("arena_bytes"),
        held.get("arena_bytes", manifest["peak_bytes"]),
        *(energy or (None, "")),
    )


def _untimed(job: Job, shipped: Shipped, manifest: Mapping[str, Any]) -> Measured:
    """The file as it is, with what the device's tables predict for it."""
    found = {"latency": shipped.predicted_us, "energy": shipped.predicted_uj}
    known = {quantity: value for quantity, value in found.items() if value is not None}
    reason = f"not timed: {job.device.name} is not this machine"
    return replace(_measured(shipped, manifest, (), None), not_timed=reason, predicted=known)


def _counted(job: Job, shipped: Shipped, measured: Measured) -> Measured:
    """With those limited costs that are counted from the network, not measured."""
    others = [name for name in job.config.cost_limits if name not in tables.COSTS]
    if not others:
        return measured
    costs = {name: tables.cost(job, name, shipped.precision, shipped.engine) for name in others}
    counted = {name: float(cost(shipped.network)) for name, cost in costs.items()}
    return replace(measured, predicted={**measured.predicted, **counted})


def contents(shipped: Shipped) -> dict[str, int]:
    """What the artefact itself holds: bytes of constants, of what is copied, and a library's arena."""
    if shipped.artefact.is_dir():
        from hwnas.export.native import open_artifact

        artefact = open_artifact(shipped.artefact)
        ends = (".so", ".wasm", ".a")  # what runs comes before what is linked into something else
        library = next((name for end in ends for name in artefact.files if name.endswith(end)), None)
        size = 0 if library is None else (shipped.artefact / library).stat().st_size
        return {
            "weight_bytes": artefact.constant_bytes, "file_bytes": size, "arena_bytes": artefact.arena_bytes
        }  # fmt: skip
    return {"weight_bytes": constant_bytes(shipped.model.read_bytes()), "file_bytes": shipped.model.stat().st_size}


# -- drift -----------------------------------------------------------------------------------------------------


def drift(job: Job, shipped: Sequence[Shipped]) -> dict[str, float]:
    """By table, how far rows timed now are from those the search read: the median of new / old - 1 over some rows.

    Empty where the device is not this machine: its rows cannot be timed again from here.
    """
    found: dict[str, float] = {}
    if why_not_here(job.device) is not None:
        return found
    with job.stage("time"):
        for engine in dict.fromkeys(one.engine for one in shipped if one.role == "winner"):
            winners = [one for one in shipped if one.role == "winner" and one.engine == engine]
            opened = {t.path: t for one in winners for t in tables.open_tables(job, one.precision, engine)}.values()
            blocks = {operator for one in winners for operator in one.network.operators}
            whole = sum(t.latency_us(o) for t in opened for o in blocks if o in t and t.rows[o].ok)
            for table in opened:
                used = {o for one in winners for o in one.network.operators if o in table and table.rows[o].ok}
                if sum(map(table.latency_us, used)) < DRIFT_WEIGHT * whole:
                    continue
                dearest = sorted(used, key=lambda o: (-table.latency_us(o), str(o)))[:DRIFT_ROWS]
                shares = [now / table.latency_us(o) - 1.0 for o, now in _timed_now(job, engine, dearest).items()]
                if shares:
                    found[table.path.stem] = statistics.median(shares)
    for name, share in found.items():
        if abs(share) > DRIFT_LIMIT:
            job.note(
                f"table {name}: rows timed again are {share:+.1%} off what the search read: the machine "
                "has drifted since; hwnas measure --refresh times them anew"
            )
    return found


def _timed_now(job: Job, engine: str, operators: Sequence[Operator]) -> dict[Operator, float]:
    """The latencies of blocks as rows are timed, microseconds; those that fail now are left out."""
    from hwnas.measure.rows import Load, row_of, timed_group

    if not operators:
        return {}
    backend = backend_for(engine, job.device, job.config.threads, job.config.tables)
    loads: dict[Operator, list[Load]] = {}
    for _ in range(DRIFT_LOADS):
        left = list(operators)
        while left:
            for operator, outcome in timed_group(left, backend, None).items():
                if isinstance(outcome, Load):
                    loads.setdefault(operator, []).append(outcome)
    rows = (row_of(operator, of, backend.version, "") for operator, of in loads.items())
    return {row.operator: row.latency_us for row in rows if row.latency_us is not None}
