"""Stage: the most accurate architecture of every target under all limits, from tables and the trained supernet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwnas.cost import Costing
from hwnas.errors import HwnasError
from hwnas.feasible import nearest
from hwnas.fidelity import Fidelity, space_digest
from hwnas.paths import digest, write_json
from hwnas.pipeline import tables
from hwnas.pipeline.config import DEFAULT_SAMPLER, Target
from hwnas.pipeline.exact import exact_code, exact_costs
from hwnas.pipeline.identity import SEARCHING, code_behind, code_of
from hwnas.pipeline.job import Job
from hwnas.pipeline.scoring import scorer
from hwnas.plug import bind, resolve
from hwnas.progress import bar
from hwnas.protocols import Sampler
from hwnas.search import SearchResult, Trial, check_reachable, search
from hwnas.space import Architecture


@dataclass(frozen=True)
class Found:
    """A target's search: what was scored, and the reachable range of every cost before it."""

    target: Target
    result: SearchResult
    reachable: dict[str, tuple[float, float]]
    margin: float


def reachable(job: Job, fidelities: dict[tuple[str, str], Fidelity]) -> dict[str, dict[str, tuple[float, float]]]:
    """The exact range of every cost of every target; HwnasError for a limit that cannot be met, before any training."""
    ranges = {}
    for target in job.config.targets:
        line = tables.priced(job, target.precision, target.engine, fidelities[target.precision, target.engine])
        try:
            ranges[target.name] = check_reachable(tables.costings(job, target.precision, line), job.config.cost_limits)
        except HwnasError as problem:
            raise HwnasError(
                f"target {target.name}: {problem.message}", nearest=problem.nearest, hint=problem.hint
            ) from None
    return ranges


def search_target(job: Job, target: Target, fidelities: dict[tuple[str, str], Fidelity], net: Any = None) -> Found:
    """Searches one target, or reads back the search of the same tables, supernet, limits and settings."""
    line = tables.priced(job, target.precision, target.engine, fidelities[target.precision, target.engine])
    costings = tables.costings(job, target.precision, line)
    ranges = check_reachable(costings, job.config.cost_limits)
    limits = kept_below(job, line, costings, ranges)
    mark, code = _identity(job, target, line, limits, costings), _code(job, target)
    stored = job.kept(f"search-{target.name}", mark, code)
    if stored is not None:
        return Found(target, _read(job, stored), ranges, line.margin)
    from hwnas.pipeline import learning

    net = net if net is not None else learning.train_supernet(job)
    space = job.space_of(target.precision)
    sampler = make_sampler(job, target)
    with job.stage("search"), bar(f"searching {target.name}", job.progress) as shown:
        result = search(
            space, sampler, scorer(job, net), costings, limits,
            job.config.search.budget, job.config.search.batch, job.config.seed, shown,
            exact_costs(job, target), job.data.sizes()["validation"],
        )  # fmt: skip
    job.keep(f"search-{target.name}", mark, _written(result), code)
    return Found(target, result, ranges, line.margin)


def make_sampler(job: Job, target: Target) -> Sampler:
    settings = dict(job.config.search.sampler)
    use = settings.pop("use", DEFAULT_SAMPLER)
    given = {"space": job.space_of(target.precision), "seed": job.config.seed}
    where = f"search.sampler ({use})"
    sampler: Sampler = bind(resolve(use, "methods", job.config.trust, (Sampler,)), settings, given, where)
    return sampler


def kept_below(
    job: Job, line: tables.Priced, costings: dict[str, Costing], ranges: dict[str, tuple[float, float]]
) -> dict[str, float]:
    """The limits the search keeps: latency lowered by the table's safety margin, or by as much of it as leaves
    something that keeps all limits."""
    limits = dict(job.config.cost_limits)
    if "latency" not in limits:
        return limits
    for share in (1.0, 0.5, 0.25, 0.0):
        lowered = {**limits, "latency": limits["latency"] / (1.0 + share * line.margin)}
        if len(limits) == 1 or not nearest(costings, lowered).proven:
            break
    return {**lowered, "latency": max(lowered["latency"], ranges["latency"][0])}


def _identity(
    job: Job, target: Target, line: tables.Priced, limits: dict[str, float], costings: dict[str, Costing]
) -> Any:
    from hwnas.pipeline import learning

    settings = job.config.search.model_dump(mode="json")
    space = space_digest(job.space_of(target.precision))
    return [
        learning.identity(job),
        target.name,
        space,
        limits,
        tables.identity(line),
        [costing.digest for costing in costings.values()],
        settings,
        job.config.seed,
        job.device.digest,
    ]


def _code(job: Job, target: Target) -> dict[str, str]:
    """Digests of the source files that decide which architecture is picked, the user's own sampler included."""
    return code_of(SEARCHING) | code_behind(make_sampler(job, target)) | exact_code(job, target)


def _written(result: SearchResult) -> Any:
    def trial(t: Trial) -> Any:
        return {"architecture": dict(t.architecture), "accuracy": t.accuracy, "costs": dict(t.costs), "loss": t.loss}

    return {
        "trials": [trial(t) for t in result.trials],
        "front": [trial(t) for t in result.front],
        "pick": trial(result.pick),
        "proposed": result.proposed,
        "infeasible": result.infeasible,
        "repeated": result.repeated,
    }


def _read(job: Job, stored: Any) -> SearchResult:
    def trial(value: Any) -> Trial:
        return Trial(Architecture(value["architecture"]), value["accuracy"], value["costs"], value["loss"])

    counts = {name: int(stored[name]) for name in ("proposed", "infeasible", "repeated")}
    trials, front = (tuple(trial(t) for t in stored[name]) for name in ("trials", "front"))
    return SearchResult(trials, front, trial(stored["pick"]), **counts)


def save_pick(job: Job, found: Found) -> None:
    """`pick-<target>.json`: the architecture alone, for other tools."""
    pick = found.result.pick
    value = {
        "target": found.target.name,
        "architecture": dict(pick.architecture),
        "accuracy": pick.accuracy,
        "costs": dict(pick.costs),
    }
    write_json(job.path(f"pick-{found.target.name}.json"), {**value, "digest": digest(dict(pick.architecture))})
