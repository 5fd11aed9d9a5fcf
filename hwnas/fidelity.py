"""How well tables predict whole networks: random architectures, predicted and measured, and the fit between the two.

Blocks measured alone differ from blocks in a network by a constant share (caches, layouts at their borders) and by a
constant per block and per call. A calibration with those three numbers is fitted on `n_fit` networks and graded on
`n_test` others, beside the same kind of fit on multiply-accumulates alone: a table must beat that to be worth having.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.card import Calibration, calibration_of, card_path, command_line, read_card, update_card, versions
from hwnas.device import DeviceProfile
from hwnas.errors import CheckFailed, HwnasError
from hwnas.measure.backend import backend_for
from hwnas.measure.fill import measure_missing
from hwnas.measure.harness import Plan, Runner, measure_together
from hwnas.network import PRECISIONS, Network
from hwnas.paths import digest
from hwnas.progress import bar
from hwnas.space import SearchSpace
from hwnas.table import LatencyTable, open_table

# Above this, the same network timed twice differs by more than the 10 % that predictions are graded on.
NOISE_LIMIT = 0.10
LEAST_NETWORKS = 8
DRAWS_PER_NETWORK = 50
HUBER = 0.03  # about three times the noise floor of a quiet machine


@dataclass(frozen=True, slots=True)
class Score:
    """Predictions against measurements: mean absolute error (a share), share within 10 %, rank correlation."""

    mape: float
    within_10: float
    spearman: float


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The grade of the tables that price one space at one precision policy. Shares, not percent; microseconds.

    `noise_floor` is the mean difference between two independent timings of the same networks: no prediction can be
    proved better than that. `baseline` is multiply-accumulates with an affine fit, `raw` the sum of rows without one.
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

    @property
    def trusted(self) -> bool:
        """The machine was quiet enough for the grade to mean something."""
        return self.noise_floor <= NOISE_LIMIT

    @property
    def answers(self) -> tuple[object, ...]:
        """What was graded: equal for two calls that would give the same grade."""
        return self.rows, self.seed, self.threads, self.n_fit, self.n_test, self.versions.get("engine")

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
) -> Fidelity:
    """Grade the device's tables on random networks of `space`, and keep the grade in the device's card.json.

    `policy` labels what the space is restricted to ("int8", "mixed"). Missing rows are measured first. A finished
    grade of the same space, rows, engine version and threads is returned without measuring anything.
    Raises HwnasError when the space has fewer than 8 different networks or one of them cannot be measured.
    """
    networks = distinct_networks(space, n_fit + n_test, seed)
    n_fit = round(len(networks) * n_fit / (n_fit + n_test))
    operators = [operator for network in networks for operator in network.operators]
    measure_missing(operators, engine, device, tables_dir, threads, progress, plan=plan)
    sums, rows = _row_sums(networks, engine, device, tables_dir, threads)
    found = stored_fidelity(space, engine, device, tables_dir, policy)
    backend = backend_for(engine, device, threads, tables_dir)
    asked = (rows, seed, threads, n_fit, len(networks) - n_fit, backend.version)
    if found is not None and asked == found.answers:
        return found
    with bar(f"timing whole networks on {device.name}, {engine}", progress) as update:

        def timed() -> np.ndarray:
            """Minima of the networks, each loaded afresh."""
            runners = []
            for done, network in enumerate(networks):
                update(done, len(networks), "loading")
                runners.append(backend.network(network, seed))
            update(len(networks), len(networks), "timing")
            return _minima(runners, plan)

        measured, noise = _timed_twice(timed)
    features = np.stack([sums, [float(len(n)) for n in networks], np.ones(len(networks))], axis=1)
    fit = fit_calibration(features[:n_fit], measured[:n_fit])
    predicted = fit.slope * (sums + fit.per_operator_us * features[:, 1]) + fit.intercept_us
    fidelity = Fidelity(
        engine,
        policy,
        space_digest(space),
        n_fit,
        len(networks) - n_fit,
        seed,
        threads,
        noise,
        table=score(predicted[n_fit:], measured[n_fit:]),
        baseline=score(_flops_baseline(networks, measured, n_fit), measured[n_fit:]),
        raw=score(sums[n_fit:], measured[n_fit:]),
        calibration=fit,
        rows=rows,
        command=command_line(),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions() | {"engine": backend.version},
        measured_us=tuple(measured.tolist()),
        predicted_us=tuple(predicted.tolist()),
    )
    update_card(card_path(tables_dir, device), device, "networks", _key(space, engine, policy), asdict(fidelity))
    return fidelity


def stored_fidelity(
    space: SearchSpace, engine: str, device: DeviceProfile, tables_dir: Path, policy: str
) -> Fidelity | None:
    """The grade in the device's card for this space, engine and policy, or None where there is none yet."""
    path = card_path(tables_dir, device)
    if not path.exists():
        return None
    entry = read_card(path).get("networks", {}).get(_key(space, engine, policy))
    if entry is None:
        return None
    if not isinstance(entry, dict) or set(entry) != {field.name for field in fields(Fidelity)}:
        raise HwnasError(
            f"{path}: the entry for {_key(space, engine, policy)} is not a grade",
            hint="delete the card and measure again",
        )
    scores = {name: Score(**entry[name]) for name in ("table", "baseline", "raw")}
    series = {name: tuple(entry[name]) for name in ("measured_us", "predicted_us")}
    return Fidelity(**{**entry, **scores, **series, "calibration": calibration_of(entry)})


def space_digest(space: SearchSpace) -> str:
    """What the space can build: its choices and every operator."""
    choices = [[choice.name, list(choice.options)] for choice in space.choices]
    return digest([choices, [str(operator) for operator in space.operators()]])


def distinct_networks(space: SearchSpace, count: int, seed: int) -> list[Network]:
    """`count` random networks that differ, fewer where the space has fewer; HwnasError below 8."""
    rng = np.random.default_rng(seed)
    found: dict[tuple[object, ...], Network] = {}
    for _ in range(count * DRAWS_PER_NETWORK):
        network = space.lower(space.random(rng))
        found.setdefault(network.operators, network)
        if len(found) == count:
            break
    if len(found) < LEAST_NETWORKS:
        raise HwnasError(
            f"space {space.name!r} has {len(found)} different networks; grading takes at least {LEAST_NETWORKS}",
            hint="give the space more options",
        )
    return list(found.values())


def fit_calibration(features: np.ndarray, measured: np.ndarray) -> Calibration:
    """Robust least squares of relative errors over columns (sum of rows, number of blocks, 1), microseconds.

    The column of blocks is used only where leaving networks out one by one says that it predicts better; a negative
    slope (too few or too noisy networks) falls back to a plain ratio.
    """
    candidates = [[0, 2]] if np.ptp(features[:, 1]) == 0 else [[0, 2], [0, 1, 2]]
    best = min(candidates, key=lambda columns: _left_out_error(features[:, columns], measured))
    weights = np.zeros(3)
    weights[best] = _relative_least_squares(features[:, best], measured)
    slope, per_block, intercept = (float(weight) for weight in weights)
    if slope <= 0:
        return Calibration(float(np.median(measured / features[:, 0])))
    return Calibration(slope, intercept, per_block / slope)


def score(predicted: np.ndarray, measured: np.ndarray) -> Score:
    """How close the predictions are; arrays (n,) in one unit."""
    from scipy.stats import spearmanr

    errors = np.abs(predicted - measured) / measured
    flat = np.ptp(predicted) == 0 or np.ptp(measured) == 0
    rank = 0.0 if flat else float(spearmanr(predicted, measured).statistic)
    return Score(float(errors.mean()), float((errors <= 0.10).mean()), rank)


def _relative_least_squares(columns: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Weights that minimise relative errors, squared up to HUBER and linear beyond: one bad network bends no fit."""
    scaled, trust = columns / measured[:, None], np.ones(len(measured))
    for _ in range(20):
        solution: np.ndarray = np.linalg.lstsq(scaled * trust[:, None], trust, rcond=None)[0]
        trust = np.sqrt(np.minimum(1.0, HUBER / np.maximum(np.abs(scaled @ solution - 1.0), HUBER / 1e3)))
    return solution


def _left_out_error(columns: np.ndarray, measured: np.ndarray) -> float:
    """Mean relative error of each network predicted from a fit on the others."""
    errors = []
    for left in range(len(measured)):
        kept = np.arange(len(measured)) != left
        weights = _relative_least_squares(columns[kept], measured[kept])
        errors.append(abs(float(columns[left] @ weights) / float(measured[left]) - 1.0))
    return float(np.mean(errors))


def _flops_baseline(networks: Sequence[Network], measured: np.ndarray, n_fit: int) -> np.ndarray:
    """Latencies of the test networks from multiply-accumulates and an affine fit on the others."""
    from hwnas import ops

    macs = [sum(ops.macs(operator) for operator in network.operators) for network in networks]
    columns = np.stack([np.asarray(macs, dtype=np.float64), np.ones(len(networks))], axis=1)
    predicted: np.ndarray = columns[n_fit:] @ _relative_least_squares(columns[:n_fit], measured[:n_fit])
    return predicted


def _row_sums(
    networks: Sequence[Network], engine: str, device: DeviceProfile, tables_dir: Path, threads: int
) -> tuple[np.ndarray, str]:
    """Sum of rows of each network, and a digest of the rows used."""
    used = {operator for network in networks for operator in network.operators}
    tables: dict[str, LatencyTable] = {
        p: open_table(tables_dir, device, engine, p, threads) for p in PRECISIONS if any(o.precision == p for o in used)
    }
    rows = {operator: tables[operator.precision].latency_us(operator) for operator in used}
    sums = np.array([sum(rows[operator] for operator in network.operators) for network in networks])
    return sums, digest(sorted((str(operator), latency) for operator, latency in rows.items()))


def _timed_twice(timed: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Minima of both timings, and the mean difference between the two; both once more where that is too large."""
    first, second = timed(), timed()
    if _difference(first, second) > NOISE_LIMIT:
        first, second = np.minimum(first, timed()), np.minimum(second, timed())
    return np.minimum(first, second), _difference(first, second)


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    return float((np.abs(first - second) / np.minimum(first, second)).mean())


def _minima(runners: Sequence[Runner], plan: Plan | None) -> np.ndarray:
    outcomes = measure_together(runners, plan)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise HwnasError(f"a random network could not be measured: {' '.join(str(outcome).split())[:300]}")
    return np.array([outcome.latency_us for outcome in outcomes if not isinstance(outcome, Exception)])


def _key(space: SearchSpace, engine: str, policy: str) -> str:
    return f"{engine}-{policy}@{space.name}-{space_digest(space)[:8]}"
