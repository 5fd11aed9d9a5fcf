"""How well tables predict whole networks: random architectures, predicted and measured, and the fit between the two.

Blocks measured alone differ from blocks in a network by a constant share (caches, layouts at their borders) and by a
constant per block and per call. A calibration with those three numbers is fitted on `n_fit` networks and graded on
`n_test` others, beside the same kind of fit on multiply-accumulates alone: a table must beat that to be worth having.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, with_config

from hwnas import formats
from hwnas.boards import Timed, outcomes_of
from hwnas.calibrate import Score, fit_calibration, relative_least_squares, score
from hwnas.card import Calibration, calibration_of, card_path, command_line, read_card, section, update_card, versions
from hwnas.device import DeviceProfile
from hwnas.errors import CheckFailed, HwnasError, unknown
from hwnas.measure.backend import Backend, backend_for, engine_version
from hwnas.measure.fill import Renewal, Report, measure_missing
from hwnas.measure.harness import Plan, Timing
from hwnas.measure.statistics import STATISTICS, of_loads
from hwnas.network import Network, Operator
from hwnas.paths import digest
from hwnas.progress import bar
from hwnas.space import Architecture, SearchSpace
from hwnas.table import LatencyTable, open_table

__all__ = [
    "NOISE_LIMIT", "Fidelity", "Judged", "Score", "distinct_networks", "fit_calibration", "score", "space_digest",
    "stored_fidelity", "whole_nets",
]  # fmt: skip

# Above this, the same network timed twice differs by more than the 10 % that predictions are graded on.
NOISE_LIMIT = 0.10
# A file is judged by the median of three loads (hwnas.measure.statistics.of_loads); so is a network of the grade.
LOADS = 3
LEAST_NETWORKS = 8
DRAWS_PER_NETWORK = 50
# How a grade is read back: no text where a number belongs, no unknown key.
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class Judged:
    """One statistic of the grade: its own fit, its own noise, and every network's figure in microseconds."""

    calibration: Calibration
    noise_floor: float
    table: Score
    measured_us: tuple[float, ...]
    predicted_us: tuple[float, ...]


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class Fidelity:
    """The grade of the tables that price one space at one precision policy. Shares, not percent; microseconds.

    `noise_floor` is the mean difference between two independent timings of the same networks: no prediction can be
    proved better than that. `baseline` is multiply-accumulates with an affine fit, `raw` the sum of rows without one.
    The flat figures are those of the minimum; `statistics` has all of them, and `samples` how many each network had.
    """

    engine: str
    policy: str
    space: str
    n_fit: int
    n_test: int
    seed: int
    threads: int
    noise_floor: float
    table: Score
    baseline: Score
    raw: Score
    calibration: Calibration
    rows: str
    command: str
    measured_at: str
    versions: dict[str, str]
    measured_us: tuple[float, ...]
    predicted_us: tuple[float, ...]
    statistics: dict[str, Judged] = field(default_factory=dict)
    samples: tuple[int, ...] = ()

    def judged(self, statistic: str = "min") -> Judged:
        """The grade of one statistic; HwnasError where the card is older than that statistic's grade."""
        if statistic == "min":
            return Judged(self.calibration, self.noise_floor, self.table, self.measured_us, self.predicted_us)
        if statistic not in STATISTICS:
            raise unknown("statistic", statistic, STATISTICS)
        if statistic not in self.statistics:
            raise HwnasError(
                f"the grade of {self.engine} {self.policy} ({self.measured_at}) says nothing of {statistic}",
                hint="hwnas measure --refresh on the device grades every statistic",
            )
        return self.statistics[statistic]

    def is_quiet(self, statistic: str) -> bool:
        """Whether the same network timed twice agrees well enough for a limit on this statistic to be judged."""
        return self.judged(statistic).noise_floor <= NOISE_LIMIT

    @property
    def trusted(self) -> bool:
        """The machine was quiet enough for the grade to mean something."""
        return self.noise_floor <= NOISE_LIMIT

    @property
    def answers(self) -> tuple[object, ...]:
        """What was graded: equal for two calls that would give the same grade by the same engine."""
        return self.rows, self.seed, self.threads, self.n_fit, self.n_test

    def serves(self, statistic: str, engine_version: str | None) -> bool:
        """It tells of this statistic, and is by this version of the engine where there is one at hand."""
        graded = statistic == "min" or statistic in self.statistics
        return graded and engine_version in (None, self.versions.get("engine"))

    def require_quiet(self) -> None:
        """Raise CheckFailed when the machine was too noisy."""
        if not self.trusted:
            raise CheckFailed(
                f"networks measured twice differ by {self.noise_floor:.1%} on average, above {NOISE_LIMIT:.0%}",
                hint="stop what else runs on this machine and measure again",
            )

    def summary(self) -> dict[str, Any]:
        """The figures as flat JSON, for reports."""
        return {
            "mape": self.table.mape,
            "within_10": self.table.within_10,
            "spearman": self.table.spearman,
            "noise_floor": self.noise_floor,
            "baseline_mape": self.baseline.mape,
            "baseline_within_10": self.baseline.within_10,
            "baseline_spearman": self.baseline.spearman,
            "raw_mape": self.raw.mape,
            "n_test": self.n_test,
            "samples": min(self.samples, default=0),
            "statistics": {
                name: {"noise_floor": judged.noise_floor, "mape": judged.table.mape}
                for name, judged in self.statistics.items()
            },
            "trusted": self.trusted,
        }


def whole_nets(
    space: SearchSpace,
    engine: str,
    device: DeviceProfile,
    tables_dir: Path,
    policy: str,
    n_fit: int = 20,
    n_test: int = 20,
    seed: int = 0,
    threads: int = 1,
    progress: bool = True,
    plan: Plan | None = None,
    statistic: str = "min",
    renewal: Renewal | None = None,
) -> Fidelity:
    """Grade the device's tables on random networks of `space`, and keep the grade in the device's card.json.

    `policy` labels what the space is restricted to ("int8", "mixed"). Missing rows are measured first. A finished
    grade of the same space, rows, engine version and threads is returned without measuring anything, as long as it
    tells of `statistic` and was taken on a quiet machine; where the engine is not here, its rows and its grade are
    taken as they are. `renewal` is for rows of another engine version, and grades anew where it asks for every row.
    Raises HwnasError when the space has fewer than 8 different networks or one of them cannot be measured.
    """
    renewal = renewal or Renewal()
    fill = partial(
        measure_missing, engine=engine, device=device, tables_dir=tables_dir, threads=threads, progress=progress,
        renewal=Renewal(stale=renewal.stale), plan=plan,
    )  # fmt: skip
    networks = _measurable_networks(space, n_fit + n_test, seed, fill)
    n_fit = round(len(networks) * n_fit / (n_fit + n_test))
    sums, rows = _row_sums(networks, engine, device, tables_dir, threads)
    asked = (rows, seed, threads, n_fit, len(networks) - n_fit)
    found = stored_fidelity(space, engine, device, tables_dir, policy)
    version = engine_version(engine, device)
    same = found is not None and asked == found.answers and found.serves(statistic, version)
    # A grade taken while the machine was busy would refuse every later run: it is taken again where that can be.
    if found is not None and same and not renewal.every and (version is None or found.is_quiet(statistic)):
        return found
    backend = backend_for(engine, device, threads, tables_dir)
    loads = _loads(networks, backend, seed, device, progress, plan)
    about = (engine, policy, space_digest(space), n_fit, len(networks) - n_fit, seed, threads)
    fidelity = _graded(about, networks, sums, rows, loads, backend.version)
    update_card(card_path(tables_dir, device), device, "networks", _key(space, engine, policy), asdict(fidelity))
    return fidelity


def _graded(
    about: tuple[str, str, str, int, int, int, int],
    networks: Sequence[Network],
    sums: Mapping[str, np.ndarray],
    rows: str,
    loads: Sequence[Sequence[Timing]],
    version: str,
) -> Fidelity:
    """The grade of networks that were timed; `about` are the first fields of Fidelity."""
    n_fit = about[3]
    blocks = np.array([float(len(network)) for network in networks])
    judged = {name: _judge(name, sums[name], blocks, loads, n_fit) for name in STATISTICS}
    least, measured = judged["min"], np.array(judged["min"].measured_us)
    return Fidelity(
        *about, least.noise_floor,
        table=least.table,
        baseline=score(_flops_baseline(networks, measured, n_fit), measured[n_fit:]),
        raw=score(sums["min"][n_fit:], measured[n_fit:]),
        calibration=least.calibration,
        rows=rows, command=command_line(), measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions() | {"engine": version},
        measured_us=least.measured_us,
        predicted_us=least.predicted_us,
        statistics=judged,
        samples=tuple(sum(len(timing.samples_us) for timing in of) for of in zip(*loads, strict=True)),
    )  # fmt: skip


def _judge(
    statistic: str, sums: np.ndarray, blocks: np.ndarray, loads: Sequence[Sequence[Timing]], n_fit: int
) -> Judged:
    """Fit one statistic on the first `n_fit` networks and grade it on the others."""
    measured = np.array([of_loads(of, statistic) for of in zip(*loads, strict=True)])
    features = np.stack([sums, blocks, np.ones(len(sums))], axis=1)
    fit = fit_calibration(features[:n_fit], measured[:n_fit])
    predicted = fit.slope * (sums + fit.per_operator_us * blocks) + fit.intercept_us
    return Judged(
        fit,
        _noise(loads, statistic),
        score(predicted[n_fit:], measured[n_fit:]),
        tuple(measured.tolist()),
        tuple(predicted.tolist()),
    )


def stored_fidelity(
    space: SearchSpace, engine: str, device: DeviceProfile, tables_dir: Path, policy: str
) -> Fidelity | None:
    """The grade in the device's card for this space, engine and policy, or None where there is none yet."""
    path, key = card_path(tables_dir, device), _key(space, engine, policy)
    if not path.exists():
        return None
    entry = section(read_card(path), "networks", path).get(key)
    return None if entry is None else read_grade(entry, f"{path}: the entry for {key}")


def read_grade(entry: Any, where: str) -> Fidelity:
    """The grade that a card's entry holds, checked whole; HwnasError names `where` and what is wrong first."""
    from pydantic import TypeAdapter, ValidationError

    try:
        grade: Fidelity = TypeAdapter(Fidelity).validate_json(json.dumps(entry))
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _no_grade(where, f"{place}: {first['msg'].lower()}") from None
    except RecursionError:
        raise _no_grade(where, "it is nested too deeply") from None
    count = grade.n_fit + grade.n_test
    if min(grade.n_fit, grade.n_test) < 1 or not set(grade.statistics) <= set(STATISTICS):
        raise _no_grade(where, f"it takes networks to fit and to test on, and statistics among {', '.join(STATISTICS)}")
    for judged in (grade.judged("min"), *grade.statistics.values()):
        calibration_of(asdict(judged))
        lengths = {len(judged.measured_us), len(judged.predicted_us)}
        if lengths != {count} or min(judged.measured_us) <= 0 or judged.noise_floor < 0:
            raise _no_grade(where, f"each statistic takes {count} measured latencies above 0 and as many predicted")
    return grade


def _no_grade(where: str, problem: str) -> HwnasError:
    return HwnasError(f"{where} is not a grade: {problem}", hint="move the card away and measure again")


def space_digest(space: SearchSpace) -> str:
    """What the space can build: its choices and every operator."""
    choices = [[choice.name, list(choice.options)] for choice in space.choices]
    return digest([choices, [str(operator) for operator in space.operators()]])


def distinct_networks(
    space: SearchSpace, count: int, seed: int, without: Collection[Operator] = frozenset()
) -> list[Network]:
    """`count` random networks that differ and use none of `without`, or fewer in a small space; HwnasError below 8."""
    rng = np.random.default_rng(seed)
    found: dict[tuple[object, ...], Network] = {}
    drawn = set[Architecture]()  # a small space repeats itself: what was drawn before is not lowered again
    for _ in range(count * DRAWS_PER_NETWORK):
        architecture = space.random(rng)
        if architecture in drawn:
            continue
        drawn.add(architecture)
        network = space.lower(architecture)
        if not any(operator in without for operator in network.operators):
            found.setdefault(network.wiring, network)
        if len(found) == count or len(drawn) == space.size:
            break
    if len(found) < LEAST_NETWORKS:
        left = f" without the {len(without)} blocks that could not be measured" if without else ""
        raise HwnasError(
            f"space {space.name!r} has {len(found)} different networks{left}; grading takes at least {LEAST_NETWORKS}",
            hint="hwnas measure --retry-failed tries those again" if without else "give the space more options",
        )
    return list(found.values())


def _measurable_networks(
    space: SearchSpace, count: int, seed: int, fill: Callable[[list[Operator]], Report]
) -> list[Network]:
    """Random networks whose every row is there, measured now where missing; those with a failed row are drawn again."""
    failed: frozenset[Operator] = frozenset()
    while True:
        networks = distinct_networks(space, count, seed, failed)
        report = fill([operator for network in networks for operator in network.operators])
        if not report.failed:
            return networks
        failed |= {operator for operator, _ in report.failed}


def _flops_baseline(networks: Sequence[Network], measured: np.ndarray, n_fit: int) -> np.ndarray:
    """Latencies of the test networks from multiply-accumulates and an affine fit on the others."""
    from hwnas import ops

    macs = [sum(ops.macs(operator) for operator in network.operators) for network in networks]
    columns = np.stack([np.asarray(macs, dtype=np.float64), np.ones(len(networks))], axis=1)
    predicted: np.ndarray = columns[n_fit:] @ relative_least_squares(columns[:n_fit], measured[:n_fit])
    return predicted


def _row_sums(
    networks: Sequence[Network], engine: str, device: DeviceProfile, tables_dir: Path, threads: int
) -> tuple[dict[str, np.ndarray], str]:
    """For every statistic the sum of rows of each network, and a digest of the rows used."""
    used = {operator for network in networks for operator in network.operators}
    tables: dict[str, LatencyTable] = {
        p: open_table(tables_dir, device, engine, p, threads) for p in formats.ordered(o.precision for o in used)
    }
    sums = {}
    for name in STATISTICS:
        rows = {operator: tables[operator.precision].latency_us(operator, name) for operator in used}
        sums[name] = np.array([sum(rows[operator] for operator in network.operators) for network in networks])
    least = [(str(operator), tables[operator.precision].latency_us(operator)) for operator in used]
    return sums, digest(sorted(least))


def _loads(
    networks: Sequence[Network], backend: Backend, seed: int, device: DeviceProfile, progress: bool, plan: Plan | None
) -> list[list[Timing]]:
    """Every load's timings of all networks; twice as many loads where the machine was too noisy for its minima."""
    loads: list[list[Timing]] = []
    title = f"timing whole networks on {device.name}"
    with bar(title, progress) as update, tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        programs = []
        for done, network in enumerate(networks):
            update(done, len(networks), "building")
            programs.append(backend.engine.network(network, seed, Path(folder) / str(done)))
        while len(loads) < LOADS or (len(loads) < 2 * LOADS and _noise(loads, "min") > NOISE_LIMIT):
            update(len(networks), len(networks), f"timing, load {len(loads) + 1}")
            with backend.board.lease():
                outcomes = outcomes_of(backend.board, programs, plan)
            loads.append([_timing(outcome) for outcome in outcomes])
    return loads


def _timing(outcome: Timed | Exception) -> Timing:
    if isinstance(outcome, Exception):
        raise HwnasError(f"a random network could not be measured: {' '.join(str(outcome).split())[:300]}")
    return outcome.timing


def _noise(loads: Sequence[Sequence[Timing]], statistic: str) -> float:
    """The mean difference between independent timings of the same networks, as a share: of each two loads, or, where
    they were doubled, of the medians of the two halves."""
    parts = [loads[::2], loads[1::2]] if len(loads) > LOADS else [[load] for load in loads]
    figures = [np.array([of_loads(of, statistic) for of in zip(*part, strict=True)]) for part in parts]
    pairs = [(a, b) for i, a in enumerate(figures) for b in figures[i + 1 :]]
    return float(np.mean([(np.abs(a - b) / np.minimum(a, b)).mean() for a, b in pairs]))


def _key(space: SearchSpace, engine: str, policy: str) -> str:
    return f"{engine}-{policy}@{space.name}-{space_digest(space)[:8]}"
