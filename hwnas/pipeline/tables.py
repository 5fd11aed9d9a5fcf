"""Stage: measure what the tables lack, grade them on whole networks, and read costs from them. Never loads torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from hwnas import find, formats
from hwnas.boards import board_of
from hwnas.card import Calibration
from hwnas.cost import Costing, OperatorCost
from hwnas.engines import engine_class
from hwnas.errors import HwnasError
from hwnas.fidelity import Fidelity, Judged, distinct_networks, whole_nets
from hwnas.measure.backend import engine_version, why_not_here
from hwnas.measure.fill import Renewal, Report, measure_missing, rows_to_measure
from hwnas.network import Operator
from hwnas.pipeline.job import Job
from hwnas.plug import Given, bind, resolve
from hwnas.table import LatencyTable, open_table
from hwnas.units import readable_seconds

COSTS = ("latency", "energy", "size", "peak_memory")  # the order they are told in; others come after
TOLD = ("latency", "size", "peak_memory")  # also where nothing limits them
# Fewer missing rows than this are measured within a minute, and sooner than anyone has read how long it takes.
WORTH_TELLING = 60
WARM_UP, PACE = 4, 8  # rows measured to tell the pace: spread over the list, which runs from stem to head
MARGIN_LIMIT = 0.25  # a table that can be further off than this is no ground for a promise


@dataclass(frozen=True)
class Priced:
    """The costs of one (precision policy, engine): calibrated latency, and the share by which it may be too low."""

    costs: dict[str, OperatorCost]
    margin: float
    fidelity: Fidelity
    calibration: Calibration


@dataclass(frozen=True)
class Work:
    """What measuring one line takes: `rows` of `wanted`, and about `seconds` (None where that was not timed)."""

    precision: str
    engine: str
    wanted: int
    rows: int
    seconds: float | None
    sampled: int

    def __str__(self) -> str:
        said = f"{self.engine} {self.precision}: {self.rows:,} of {self.wanted:,} rows to measure"
        if self.seconds is None:
            return said
        return f"{said}, about {readable_seconds(self.seconds)} more at the pace of {self.sampled} rows timed just now"


def measure(job: Job, say: Callable[[str], object] = lambda text: None) -> list[Report]:
    """Measures every missing row of every line of the job; says beforehand how many and how long it takes."""
    _refuse_small_spaces(job)
    _refuse_unrun_precisions(job)
    _refuse_uncounted_energy(job)
    fresh: dict[str, set[Operator]] = {}
    with job.stage("measure"):
        return [_measure_line(job, *line, fresh.setdefault(line[1], set()), say) for line in job.lines]


def dry_run(job: Job) -> list[Work]:
    """How many rows each line lacks and how long they take. The few that are timed to tell it are kept."""
    _refuse_small_spaces(job)
    _refuse_unrun_precisions(job)
    _refuse_uncounted_energy(job)
    fresh: dict[str, set[Operator]] = {}
    works = []
    with job.stage("measure"):
        for precision, engine in job.lines:
            done = fresh.setdefault(engine, set())
            works.append(_work(job, precision, engine, done)[0])
            done |= set(job.operators_of(precision))  # a line before this one measures what both use
    return works


def _refuse_small_spaces(job: Job) -> None:
    """HwnasError where a line's space is too small to be graded, before its rows cost time."""
    for precision in dict.fromkeys(precision for precision, _ in job.lines):
        distinct_networks(job.space_of(precision), job.config.card.fit + job.config.card.test, job.config.seed)


def _refuse_unrun_precisions(job: Job) -> None:
    """HwnasError where a target's engine does not run networks of its precision."""
    for target in job.config.targets:
        runs = engine_class(target.engine).precisions
        if runs is not None and target.precision not in runs:
            raise HwnasError(
                f"target {target.name}: {target.engine} runs no network of {target.precision}",
                hint=f"it runs {', '.join(sorted(runs))}",
            )


def _refuse_uncounted_energy(job: Job) -> None:
    """HwnasError where energy is limited and the board at hand has no counter, before its rows cost time."""
    board = board_of(job.device, job.config.tables)
    if "energy" not in job.config.cost_limits or board is None or board.unreachable() is not None:
        return
    if not board.counts_energy():
        raise HwnasError(
            f"energy is limited and cannot be measured on {job.device.name}: it has no energy counter that can be read",
            hint="drop the energy limit; Linux's RAPL counters (/sys/class/powercap) take root to read",
        )


def _measure_line(job: Job, precision: str, engine: str, fresh: set[Operator], say: Callable[[str], object]) -> Report:
    """One line's rows; `fresh` holds what this command has measured already, and grows."""
    operators = job.operators_of(precision)
    work, reports = _work(job, precision, engine, fresh)
    if work.rows:
        say(str(work))
    left = [operator for operator in operators if operator not in fresh]
    if left:
        reports.append(_filled(job, left, engine))
        fresh |= set(left)
    whole = _filled(job, operators, engine, Renewal(stale=job.renewal.stale))
    _refuse_failures(whole, operators)
    measured = sum(report.measured for report in reports)
    return replace(
        whole,
        measured=measured,
        reused=len(operators) - measured,
        renewed=sum(report.renewed for report in reports),
        repeated=sum(report.repeated for report in reports),
        seconds=sum(report.seconds for report in reports),
    )


def _work(job: Job, precision: str, engine: str, fresh: set[Operator]) -> tuple[Work, list[Report]]:
    """What is to do, and the reports of the rows that were measured to tell how long it takes."""
    operators = [operator for operator in job.operators_of(precision) if operator not in fresh]
    version = engine_version(engine, job.device)
    todo = [
        operator
        for table in open_tables(job, precision, engine)
        for operator in rows_to_measure(table, operators, job.renewal, version)
    ]
    count = len(todo)
    wanted = len(job.operators_of(precision))
    if count <= WORTH_TELLING or why_not_here(job.device) is not None:
        return Work(precision, engine, wanted, count, None, 0), []
    # The first rows also load the engine and compile what all share, so their pace is not that of the rest.
    sample = [todo[i] for i in np.linspace(0, count - 1, WARM_UP + PACE, dtype=int).tolist()]
    sample = sample[::3] + [operator for operator in sample if operator not in sample[::3]]
    warm, paced = (_filled(job, part, engine) for part in (sample[:WARM_UP], sample[WARM_UP:]))
    fresh |= set(sample)
    left = count - len(sample)
    return Work(precision, engine, wanted, left, paced.seconds / PACE * left, PACE), [warm, paced]


def _filled(job: Job, operators: Sequence[Operator], engine: str, renewal: Renewal | None = None) -> Report:
    config = job.config
    return measure_missing(
        operators, engine, job.device, config.tables, config.threads, job.progress, renewal or job.renewal
    )


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
                job.config.seed, job.config.threads, job.progress, statistic=job.config.statistic, renewal=job.renewal,
            )
            for precision, engine in job.lines
        }  # fmt: skip


def open_tables(job: Job, precision: str, engine: str) -> list[LatencyTable]:
    """The tables an architecture of this policy is priced from."""
    used = formats.ordered(operator.precision for operator in job.operators_of(precision))
    return [open_table(job.config.tables, job.device, engine, p, job.config.threads) for p in used]


def priced(job: Job, precision: str, engine: str, fidelity: Fidelity) -> Priced:
    """Every cost the job limits, and those that are always told: of the statistic that is limited, by that statistic's
    own fit."""
    judged = fidelity.judged(job.config.statistic)
    names = [name for name in find.names("methods.cost") if name in job.config.cost_limits or name in TOLD]
    costs = {name: cost(job, name, precision, engine, judged.calibration) for name in names}
    return Priced(costs, safety_margin(judged, fidelity.n_test), fidelity, judged.calibration)


def cost(job: Job, name: str, precision: str, engine: str, calibration: Calibration | None = None) -> OperatorCost:
    """The cost that a file of methods/cost defines, given whatever of this line its function names."""
    given = Given(
        {
            "space": lambda: job.space_of(precision),
            "engine": lambda: engine,
            "device": lambda: job.device,
            "statistic": lambda: job.config.statistic,
            "tables": lambda: open_tables(job, precision, engine),
            "calibration": lambda: calibration,
        }
    )
    made: OperatorCost = bind(
        resolve(f"cost.{name}", "methods", job.config.trust, (OperatorCost,)), {}, given, f"cost.{name}"
    )
    if made.name != name:
        raise HwnasError(f"cost.{name} must give a cost of that name, got {made.name!r}")
    return made


def identity(line: Priced) -> list[object]:
    """What decides the latencies that a line predicts: its rows, their calibration, the margin kept below a limit."""
    return [line.fidelity.rows, asdict(line.calibration), line.margin]


def safety_margin(judged: Judged, n_test: int) -> float:
    """How far measurements exceeded predictions on unseen networks: the 90th percentile, at least the noise.

    The search keeps the prediction this share below the limit, so that nine of ten picks are within it as measured.
    """
    measured, predicted = np.asarray(judged.measured_us), np.asarray(judged.predicted_us)
    n = min(len(measured), len(predicted), n_test)
    excess = measured[-n:] / predicted[-n:] - 1.0
    margin = max(float(np.quantile(excess, 0.9)), min(judged.noise_floor, 0.05), 0.0)
    return margin if math.isfinite(margin) else MARGIN_LIMIT


def costings(job: Job, precision: str, line: Priced) -> dict[str, Costing]:
    """The costs of a line over its space, ready for a search; limited ones first, latency before others."""
    limited = job.config.cost_limits
    names = sorted(
        line.costs, key=lambda name: (name not in limited, name not in COSTS, COSTS.index(name) if name in COSTS else 0)
    )
    return {name: Costing(job.space_of(precision), line.costs[name]) for name in names}
