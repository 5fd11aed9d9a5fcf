"""The stages in order, each on its own or all of them: `hwnas run` and the verbs that stop earlier."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from hwnas import formats
from hwnas.boards import board_of
from hwnas.card import command_line, versions
from hwnas.engines import engine_class
from hwnas.errors import CheckFailed, HwnasError
from hwnas.extras import missing_extra
from hwnas.fidelity import Fidelity
from hwnas.measure.backend import why_not_here
from hwnas.paths import digest, digest_file
from hwnas.pipeline import limits, searching, shipping, tables, timing, verifying
from hwnas.pipeline.config import MIXED, cost_unit
from hwnas.pipeline.decision import Words, candidate, decide
from hwnas.pipeline.job import Job
from hwnas.pipeline.searching import Found
from hwnas.pipeline.shipping import Shipped
from hwnas.pipeline.timing import Measured
from hwnas.pipeline.validating import Answers, validate
from hwnas.report import results as report
from hwnas.report.findings import examples, limits_in_words
from hwnas.report.latest import with_latest

Fidelities = dict[tuple[str, str], Fidelity]
Say = Callable[[str], object]  # takes one line for a person


@dataclass(frozen=True)
class Delivery:
    """One exported file with what is known of it."""

    shipped: Shipped
    manifest: dict[str, Any]
    verified: dict[str, Any]
    measured: Measured
    verdicts: dict[str, bool]


def search_all(job: Job, fidelities: Fidelities, net: Any = None) -> list[Found]:
    """Every target's search; the pick of each is written as a file of its own."""
    found = [searching.search_target(job, target, fidelities, net) for target in job.config.targets]
    for one in found:
        searching.save_pick(job, one)
    return found


def export_all(job: Job, net: Any, listed: Sequence[Shipped]) -> list[tuple[Shipped, dict[str, Any]]]:
    """Every file with its manifest entry. A twin that an engine cannot take is left out with a note: it was nobody's
    wish but a comparison; a winner that cannot be exported ends the run."""
    from hwnas.pipeline import learning

    expected = learning.further_estimate(job, net, [one.architecture for one in listed])
    if expected and job.say is not None:
        job.say(expected)
    made = []
    for one in listed:
        try:
            made.append((one, shipping.export(job, net, one)))
        except (HwnasError, ModuleNotFoundError) as problem:
            reason = missing_extra(problem) if isinstance(problem, ModuleNotFoundError) else problem
            # a library that computes something else is a defect, whoever it was made for
            if one.role == "winner" or reason is None or isinstance(reason, CheckFailed):
                raise
            job.note(f"no fp32 twin of {one.target.name} in {one.engine}: {reason.message}")
    return made


def deliver(job: Job, exported: Sequence[tuple[Shipped, dict[str, Any]]], fresh: bool = False) -> list[Delivery]:
    """Verifies every exported file, and times it where the device is this machine; `fresh` verifies also what was
    verified before."""
    verified = [verifying.verify(job, one, manifest, fresh) for one, manifest in exported]
    measured = timing.time_again(job, [one for one, _ in exported], [manifest for _, manifest in exported])
    deliveries = [
        Delivery(one, manifest, said, facts, limits.verdicts(job, facts))
        for (one, manifest), said, facts in zip(exported, verified, measured, strict=True)
    ]
    for d in deliveries:
        entry = {**d.manifest, "accuracy": d.verified["accuracy"], "verified": d.verified, **d.measured.record()}
        shipping.write_entry(d.shipped.folder, d.shipped.artefact.name, {**entry, "verdicts": d.verdicts})
    return deliveries


def prepare(job: Job, say: Say = lambda text: None) -> Fidelities:
    """Profile, measure, grade; says what was measured and the reachable range, and refuses an unreachable limit."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise HwnasError("only training is shared by processes", hint="torchrun -m hwnas train, then hwnas run alone")
    check_names(job)
    say(f"device {job.device.name}: {job.device.cpu.model.value}, compiler target {job.device.target}")
    board = board_of(job.device, job.config.tables)
    if board is not None and not board.real:
        job.note(f"device {job.device.name} does not exist: every latency and energy of it is made up")
    for report_ in tables.measure(job, say):
        say(str(report_))
    fidelities = tables.grade(job)
    for (precision, engine), f in fidelities.items():
        say(
            f"{engine} {precision}: predicts {f.n_test} unseen networks within {f.table.mape:.1%} "
            f"(noise {f.noise_floor:.1%}, MACs alone {f.baseline.mape:.1%})"
        )
    limits.refuse_unjudgeable(job, fidelities)
    for target, ranges in searching.reachable(job, fidelities).items():
        low, high = ranges["latency"]
        say(f"{target}: latency from {low:.1f} to {high:.1f} us is reachable")
    return fidelities


def check_names(job: Job) -> None:
    """Makes the task, the rule, the wrapper and every sampler that the run file names: a wrong one is refused before
    anything is measured. So is a compiler target that means this machine, where the device is another."""
    from hwnas.pipeline import learning

    compiling = [name for name in job.device.engines if engine_class(name).compiles]
    if job.device.target == "host" and compiling and why_not_here(job.device) is not None:
        raise HwnasError(
            f"device {job.device.name} is not this machine, and its target is host: libraries would be for this one",
            hint=f"give its own compiler target in its profile, or leave {', '.join(compiling)} out of its engines",
        )
    learning.make_rule(job)
    learning.started(job)
    _ = job.task
    for target in job.config.targets:
        searching.check(job, target)


def run(job: Job, say: Say = lambda text: None) -> report.Results:
    """Every stage in order. A winner over the limit is in the results (`limit_ok`), not an exception."""
    start = time.monotonic()
    fidelities = prepare(job, say)
    from hwnas.pipeline import learning

    net = learning.train_supernet(job)
    found = search_all(job, fidelities, net)
    listed = shipping.shipments(job, found, fidelities)
    deliveries = deliver(job, export_all(job, net, listed))
    drift = timing.drift(job, listed)
    answers = [validate(job, d.shipped) for d in deliveries]
    job.seconds["total"] = time.monotonic() - start
    results = with_latest(gather(job, fidelities, found, deliveries, answers, drift), job.config.folder)
    _set_aside_others(job, results)
    results.save(job.path(report.FILE_NAME))
    from hwnas.report.page import FILE_NAME, write_page

    write_page(results, job.path(FILE_NAME))
    return results


def _set_aside_others(job: Job, results: report.Results) -> None:
    """Keeps the results of other limits, picks or seeds that stand where these go: what was measured is not made up
    for by running again."""
    path = job.path(report.FILE_NAME)
    if not path.exists():
        return
    try:
        old = _asked_and_found(report.load_results(path))
    except HwnasError:  # of another version, or not ours
        old = digest_file(path)
    if old != _asked_and_found(results):
        job.set_aside(path, old)


def _asked_and_found(results: report.Results) -> str:
    picks = [[target.precision, target.engine, target.architecture] for target in results.targets]
    limits = [[limit.name, limit.value] for limit in results.limits]
    return digest([limits, results.statistic, results.seed, results.device.digest, picks])


def breaches(job: Job, deliveries: Sequence[Delivery]) -> list[str]:
    """Every winner over a limit, in the words of the reports."""
    from hwnas.report.findings import limit_verdict, named

    rows = [row for d in deliveries if (row := _row(job, d, None)).limit_ok is False]
    return [f"{named(row)}: {limit_verdict(row, _limits(job), job.config.statistic)}" for row in rows]


def _limits(job: Job) -> tuple[report.Limit, ...]:
    return tuple(report.Limit(name, cost_unit(name), value) for name, value in job.config.cost_limits.items())


# -- results ----------------------------------------------------------------------------------------------------


def gather(
    job: Job,
    fidelities: Fidelities,
    found: Sequence[Found],
    deliveries: Sequence[Delivery],
    answers: Sequence[Answers],
    drift: dict[str, float],
) -> report.Results:
    """Everything the run found, for the reports; `answers` are those of the deliveries on the validation images."""
    data, config = job.data, job.config
    shape, sizes = next(iter(data.inputs.values())).shape, data.sizes()
    baseline, reached = job.task.baseline(data)
    task = report.Task(job.task.metric, job.task.unit, baseline)
    rows = {id(d): _row(job, d, answer) for d, answer in zip(deliveries, answers, strict=True)}
    results = report.Results(
        run=config.name,
        device=report.Device(job.device.name, str(job.device.cpu.model.value), job.device.digest),
        dataset=report.Dataset(data.name, int(data.facts.get("classes", 0)), shape, **sizes),
        limits=_limits(job),
        targets=tuple(_target(job, fidelities, one, deliveries, rows) for one in found),
        cards={f"{engine}-{precision}": _card(fidelity) for (precision, engine), fidelity in fidelities.items()},
        linear_baseline_accuracy=reached,
        seconds={name: round(value, 2) for name, value in job.seconds.items()},
        reachable=tuple(
            report.Reach(one.target.name, name, cost_unit(name), low, high)
            for one in found for name, (low, high) in one.reachable.items()
        ),
        versions=versions(),
        command=command_line(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=config.seed,
        notes=(*_notes(found), *advice_for(job, found), *job.notes),
        statistic=config.statistic,
        drift=drift,
        task=None if task == report.Task() else task,
    )  # fmt: skip
    listed = [candidate(results, rows[id(d)], answer) for d, answer in zip(deliveries, answers, strict=True)]
    return replace(
        results, ship=decide(listed, limits_in_words(results), Words(task.metric, task.unit, examples(results)))
    )


def _card(fidelity: Fidelity) -> report.Card:
    return report.Card(
        fidelity.table.mape, fidelity.table.within_10, fidelity.table.spearman, fidelity.noise_floor,
        fidelity.baseline.mape, fidelity.baseline.spearman, fidelity.n_test,
    )  # fmt: skip


def _target(
    job: Job, fidelities: Fidelities, found: Found, deliveries: Sequence[Delivery], rows: Mapping[int, report.Row]
) -> report.Target:
    target, result = found.target, found.result
    mine = [d for d in deliveries if d.shipped.target == target]
    return report.Target(
        precision=target.precision,
        engine=target.engine,
        architecture=dict(result.pick.architecture),
        blocks=_blocks(job, fidelities, [d.shipped for d in mine]),
        rows=tuple(rows[id(d)] for d in mine),
        front=tuple(report.FrontPoint(t.accuracy, dict(t.costs), dict(t.architecture)) for t in result.front),
        trials=tuple(report.Trial(t.accuracy, dict(t.costs), target.precision) for t in result.trials),
    )


def _blocks(job: Job, fidelities: Fidelities, listed: Sequence[Shipped]) -> tuple[report.Block, ...]:
    """Table latency of every block of the winner, and of the block of the same name in its twin."""

    def by_name(shipped: Shipped) -> dict[str, float]:
        of = (
            tables.priced(job, shipped.precision, shipped.engine, fidelities[shipped.precision, shipped.engine])
            .costs["latency"]
            .of
        )
        return {node.name: float(of(node.operator)) for node in shipped.network}

    winner = listed[0]
    twins = [one for one in listed[1:] if (one.precision, one.engine) in fidelities]  # an fp32 winner's has no table
    twin = by_name(twins[0]) if twins else {}
    mine = by_name(winner)
    return tuple(
        report.Block(node.name, str(node.operator), node.operator.precision, mine[node.name], twin.get(node.name))
        for node in winner.network
    )


def _row(job: Job, d: Delivery, answers: Answers | None) -> report.Row:
    latencies, verdicts, accuracy = d.measured.latencies_us, d.verdicts, d.verified["accuracy"]
    return report.Row(
        precision=d.shipped.precision,
        engine=d.shipped.engine,
        role="winner" if d.shipped.role == "winner" else "fp32 twin",
        accuracy=accuracy,
        predicted_us=d.shipped.predicted_us,
        measured_us=latencies.get("min"),
        p50_us=latencies.get("p50"),
        p90_us=latencies.get("p90"),
        p99_us=latencies.get("p99"),
        samples=d.measured.samples,
        size_bytes=d.manifest["size_bytes"],
        file_bytes=d.measured.file_bytes,
        weight_bytes=d.measured.weight_bytes,
        peak_bytes=d.manifest["peak_bytes"],
        arena_bytes=d.measured.arena_bytes,
        energy_uj=d.measured.energy_uj,
        verdicts=verdicts,
        not_timed=d.measured.not_timed,
        predicted_uj=d.shipped.predicted_uj,
        limit_ok=all(verdicts.values()) if d.shipped.role == "winner" else None,
        verified=d.verified["summary"],
        file=str(d.shipped.artefact.relative_to(job.config.folder)),
        float_accuracy=d.manifest["float_accuracy"],
        accuracy_low=d.verified["accuracy_low"],
        accuracy_high=d.verified["accuracy_high"],
        validation_accuracy=None if answers is None else answers.metric,
        validation_loss=None if answers is None else answers.loss,
        trained_further=d.manifest.get("trained_further"),
        test_images=d.verified["samples"],
    )


def advice_for(job: Job, found: Sequence[Found]) -> list[str]:
    """Where INT8 beats 1-bit on the target, the run says so instead of pretending."""
    from hwnas.kernels.target import parse_target
    from hwnas.kernels.throughput import advice

    precisions = {one.target.precision for one in found}
    binary = any(name == MIXED or formats.of(name).arithmetic == "signs" for name in precisions)
    said = advice(parse_target(job.device.target)) if binary else None
    return [said] if said else []


def _notes(found: Sequence[Found]) -> list[str]:
    notes = []
    for one in found:
        r = one.result
        notes.append(
            f"{one.target.name}: {r.proposed} architectures proposed, {len(r.trials)} different ones scored, "
            f"{r.infeasible} over a limit, "
            f"{r.repeated} repeated; predictions kept {one.margin:.1%} below the limit (the table's error)"
        )
    return notes
