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
from hwnas.pipeline.config import Target
from hwnas.pipeline.exact import exact_code, exact_costs
from hwnas.pipeline.identity import SEARCHING, code_of
from hwnas.pipeline.job import Job
from hwnas.pipeline.parts import EARLY, Parts
from hwnas.pipeline.scoring import scorer
from hwnas.progress import bar
from hwnas.protocols import Decoder
from hwnas.search import Memory, SearchResult, Trial, check_reachable, decoded, search
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
            costings = tables.costings(job, target.precision, line)
            ranges[target.name] = check_reachable(costings, job.config.cost_limits)
            limits = kept_below(job, line, costings, ranges[target.name])
            known = {"costings": lambda costings=costings: costings, "limits": lambda limits=limits: limits}
            Parts(job, target, known).make_those_of(EARLY | {"costings", "limits"})
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
    parts = Parts(
        job, target,
        {
            "costings": lambda: costings,
            "limits": lambda: limits,
            "net": lambda: _trained(job, net),
            "rule": lambda: _trained_rule(job),
        },
    )  # fmt: skip
    if job.config.search.scorer is not None:
        job.note(f"{target.name}: what the search calls accuracy is the score of {parts.use('scorer')}")
    mark, code = _identity(job, target, line, limits, costings), _code(job, target)
    stored = job.kept(f"search-{target.name}", mark, code)
    if stored is not None:
        return Found(target, _read(job, stored), ranges, line.margin)
    result = _found(job, target, parts, costings, limits, _Kept(job, f"searching-{target.name}", mark, code))
    job.keep(f"search-{target.name}", mark, _written(result), code)
    job.path(f"searching-{target.name}.json").unlink(missing_ok=True)
    return Found(target, result, ranges, line.margin)


def _found(
    job: Job, target: Target, parts: Parts, costings: dict[str, Costing], limits: dict[str, float], memory: Memory
) -> SearchResult:
    space, settings, exact = job.space_of(target.precision), job.config.search, exact_costs(job, target)
    scores = scorer(job, parts, target)
    if parts.main == "decoder" or any("net" in parts.needs(part) for part in ("sampler", "scorer")):
        _ = parts.given["net"]  # trained in a stage of its own
    with job.stage("search"), bar(f"searching {target.name}", job.progress) as shown:
        parts.use_progress(shown)
        if parts.main == "decoder":
            decoder: Decoder = parts.make("decoder")
            found = decoder.decode(parts.given["net"], parts.given["rule"], space, scores)
            return decoded(space.architecture(found), scores, costings, limits, exact)
        return search(
            space, parts.make("sampler"), scores, costings, limits, settings.budget, settings.batch, job.config.seed,
            shown, exact, _examples(job), memory,
        )  # fmt: skip


def _examples(job: Job) -> int:
    """How many validation examples an accuracy is of; 0 where the metric is no share, whose error is not known."""
    return job.data.sizes()["validation"] if job.task.unit == "%" else 0


def _trained(job: Job, net: Any) -> Any:
    from hwnas.pipeline import learning

    return net if net is not None else learning.train_supernet(job)


def _trained_rule(job: Job) -> Any:
    from hwnas.pipeline import learning

    return learning.trained_rule(job)


@dataclass(frozen=True)
class _Kept:
    """How far an unfinished search is, beside the run's other stages; of another identity it is not read."""

    job: Job
    name: str
    mark: Any
    code: dict[str, str]

    def read(self) -> Any | None:
        return self.job.kept(self.name, self.mark, self.code)

    def write(self, value: Any) -> None:
        self.job.keep(self.name, self.mark, value, self.code, replace=True)


def check(job: Job, target: Target) -> None:
    """Refuses, before anything is measured, what the run file names wrongly under `search:`."""
    Parts(job, target).check()


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

    settings = {name: value for name, value in job.config.search.model_dump(mode="json").items() if value is not None}
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
    return code_of(SEARCHING) | Parts(job, target).code() | exact_code(job, target)


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
        "unit": result.unit,
    }


def _read(job: Job, stored: Any) -> SearchResult:
    def trial(value: Any) -> Trial:
        return Trial(Architecture(value["architecture"]), value["accuracy"], value["costs"], value["loss"])

    counts = {name: int(stored[name]) for name in ("proposed", "infeasible", "repeated")}
    trials, front = (tuple(trial(t) for t in stored[name]) for name in ("trials", "front"))
    return SearchResult(trials, front, trial(stored["pick"]), **counts, unit=str(stored["unit"]))


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
