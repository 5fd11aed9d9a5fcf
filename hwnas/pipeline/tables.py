"""Stage: measure what the tables lack, grade them on whole networks, and read costs from them. Never loads torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hwnas import ops
from hwnas.cost import Costing, OperatorCost
from hwnas.errors import HwnasError
from hwnas.fidelity import Fidelity, whole_nets
from hwnas.measure.fill import Report, measure_missing
from hwnas.network import PRECISIONS, Operator
from hwnas.pipeline.job import Job
from hwnas.table import LatencyTable, energy_cost, latency_cost, open_table

COSTS = ("latency", "energy", "size", "peak_memory")
MARGIN_LIMIT = 0.25  # a table that can be further off than this is no ground for a promise


@dataclass(frozen=True)
class Priced:
    """The costs of one (precision policy, engine): calibrated latency, and the share by which it may be too low."""

    costs: dict[str, OperatorCost]
    margin: float
    fidelity: Fidelity


def measure(job: Job) -> list[Report]:
    """Measures every missing row of every line of the job."""
    config = job.config
    reports = []
    with job.stage("measure"):
        for precision, engine in job.lines:
            operators = job.operators_of(precision)
            reports.append(measure_missing(operators, engine, job.device, config.tables, config.threads, job.progress))
            _refuse_failures(reports[-1], operators)
    return reports


def _refuse_failures(report: Report, operators: Sequence[Operator]) -> None:
    if len(report.failed) == len(operators):
        operator, reason = report.failed[0]
        raise HwnasError(
            f"no block could be measured by {report.engine} on {report.device}; the first, {operator}: {reason}"
        )


def grade(job: Job) -> dict[tuple[str, str], Fidelity]:
    """Grades the tables of every line on random whole networks."""
    card = job.config.card
    with job.stage("grade"):
        return {
            (precision, engine): whole_nets(
                job.space_of(precision), engine, job.device, job.config.tables, precision, card.fit, card.test,
                job.config.seed, job.config.threads, job.progress,
            )
            for precision, engine in job.lines
        }  # fmt: skip


def open_tables(job: Job, precision: str, engine: str) -> list[LatencyTable]:
    """The tables an architecture of this policy is priced from."""
    used = {operator.precision for operator in job.operators_of(precision)}
    return [open_table(job.config.tables, job.device, engine, p, job.config.threads) for p in PRECISIONS if p in used]


def priced(job: Job, precision: str, engine: str, fidelity: Fidelity) -> Priced:
    """Every cost the job limits, and latency always."""
    tables = open_tables(job, precision, engine)
    costs = {"latency": latency_cost(tables, fidelity.calibration)}
    limited = job.config.cost_limits
    if "energy" in limited:
        costs["energy"] = energy_cost(tables)
    costs["size"] = OperatorCost("size", "bytes", lambda o: float(ops.weight_bytes(o)))
    costs["peak_memory"] = OperatorCost("peak_memory", "bytes", _memory(job, engine), combine="max")
    return Priced(costs, safety_margin(fidelity), fidelity)


def _memory(job: Job, engine: str) -> Callable[[Operator], float]:
    """A compiled library's arena from below (the search prices it exactly before it scores); elsewhere an estimate."""
    if engine != "tvm" or job.device.connection == "made-up":
        return lambda operator: float(ops.peak_bytes(operator))
    from hwnas.export.native.arena import arena_bound

    channels = job.space.in_channels
    return lambda operator: float(arena_bound(operator, channels))


def identity(line: Priced) -> list[object]:
    """What decides the latencies that a line predicts: its rows, their calibration, the margin kept below a limit."""
    return [line.fidelity.rows, asdict(line.fidelity.calibration), line.margin]


def safety_margin(fidelity: Fidelity) -> float:
    """How far measurements exceeded predictions on unseen networks: the 90th percentile, at least the noise.

    The search keeps the prediction this share below the limit, so that nine of ten picks are within it as measured.
    """
    measured, predicted = np.asarray(fidelity.measured_us), np.asarray(fidelity.predicted_us)
    n = min(len(measured), len(predicted), fidelity.n_test)
    excess = measured[-n:] / predicted[-n:] - 1.0
    margin = max(float(np.quantile(excess, 0.9)), min(fidelity.noise_floor, 0.05), 0.0)
    return margin if math.isfinite(margin) else MARGIN_LIMIT


def costings(job: Job, precision: str, line: Priced) -> dict[str, Costing]:
    """The costs of a line over its space, ready for a search; limited ones first, latency before others."""
    limited = job.config.cost_limits
    names = sorted(line.costs, key=lambda name: (name not in limited, COSTS.index(name)))
    return {name: Costing(job.space_of(precision), line.costs[name]) for name in names}
