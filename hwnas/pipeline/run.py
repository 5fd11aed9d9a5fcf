"""The stages in order, each on its own or all of them: `hwnas run` and the verbs that stop earlier."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hwnas.card import command_line, versions
from hwnas.errors import HwnasError
from hwnas.fidelity import Fidelity
from hwnas.measure.harness import Timing
from hwnas.pipeline import searching, shipping, tables
from hwnas.pipeline.job import Job
from hwnas.pipeline.searching import Found
from hwnas.pipeline.shipping import Shipped
from hwnas.report import results as report

Fidelities = dict[tuple[str, str], Fidelity]
Say = Callable[[str], object]  # takes one line for a person


@dataclass(frozen=True)
class Delivery:
    """One exported file with what is known of it."""

    shipped: Shipped
    manifest: dict[str, Any]
    verified: dict[str, Any]
    timing: Timing


def search_all(job: Job, fidelities: Fidelities, net: Any = None) -> list[Found]:
    """Every target's search; the pick of each is written as a file of its own."""
    found = [searching.search_target(job, target, fidelities, net) for target in job.config.targets]
    for one in found:
        searching.save_pick(job, one)
    return found


def export_all(job: Job, net: Any, listed: Sequence[Shipped]) -> list[dict[str, Any]]:
    return [shipping.export(job, net, one) for one in listed]


def deliver(job: Job, listed: Sequence[Shipped], manifests: Sequence[dict[str, Any]]) -> list[Delivery]:
    """Verifies and times every exported file."""
    verified = [shipping.verify(job, one, manifest) for one, manifest in zip(listed, manifests, strict=True)]
    timings = shipping.time_again(job, listed)
    deliveries = [Delivery(*parts) for parts in zip(listed, manifests, verified, timings, strict=True)]
    for d in deliveries:
        shipping.write_manifest(d.shipped, d.manifest, d.verified, d.timing)
    return deliveries


def prepare(job: Job, say: Say = lambda text: None) -> Fidelities:
    """Profile, measure, grade; says what was measured and the reachable range, and refuses an unreachable limit."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise HwnasError("only training is shared by processes", hint="torchrun -m hwnas train, then hwnas run alone")
    say(f"device {job.device.name}: {job.device.cpu.model.value}, compiler target {job.device.target}")
    for report_ in tables.measure(job):
        say(
            f"{report_.engine}: {report_.measured} rows measured, {report_.reused} reused, {len(report_.failed)} failed"
        )
    fidelities = tables.grade(job)
    for (precision, engine), f in fidelities.items():
        say(
            f"{engine} {precision}: predicts {f.n_test} unseen networks within {f.table.mape:.1%} "
            f"(noise {f.noise_floor:.1%}, MACs alone {f.baseline.mape:.1%})"
        )
    for target, ranges in searching.reachable(job, fidelities).items():
        low, high = ranges["latency"]
        say(f"{target}: latency from {low:.1f} to {high:.1f} us is reachable")
    return fidelities


def run(job: Job, say: Say = lambda text: None) -> report.Results:
    """Every stage in order. A winner over the limit is in the results (`limit_ok`), not an exception."""
    start = time.monotonic()
    fidelities = prepare(job, say)
    from hwnas.pipeline import learning

    for note in job.data.notes:
        say(note)
    net = learning.train_supernet(job)
    found = search_all(job, fidelities, net)
    listed = shipping.shipments(job, found, fidelities)
    expected = learning.further_estimate(job, net, [one.architecture for one in listed])
    if expected:
        say(expected)
    deliveries = deliver(job, listed, export_all(job, net, listed))
    job.seconds["total"] = time.monotonic() - start
    results = gather(job, fidelities, found, deliveries)
    results.save(job.path(report.FILE_NAME))
    from hwnas.report.page import FILE_NAME, write_page

    write_page(results, job.path(FILE_NAME))
    return results


def breaches(job: Job, deliveries: Sequence[Delivery]) -> list[str]:
    """Every winner measured above the limit, in words."""
    said = (shipping.over_limit(job, d.shipped, d.timing) for d in deliveries)
    return [text for text in said if text]


# -- results ----------------------------------------------------------------------------------------------------


def gather(job: Job, fidelities: Fidelities, found: Sequence[Found], deliveries: Sequence[Delivery]) -> report.Results:
    """Everything the run found, for the reports."""
    from hwnas.data import linear_baseline

    data, config = job.data, job.config
    units = {"latency": "us", "energy": "uJ", "size": "bytes", "peak_memory": "bytes"}
    shape, sizes = (data.facts["in_channels"], *data.facts["image_size"]), data.sizes()
    return report.Results(
        run=config.name,
        device=report.Device(job.device.name, str(job.device.cpu.model.value), job.device.digest),
        dataset=report.Dataset(data.name, len(data.classes), shape, **sizes),
        limits=tuple(report.Limit(name, units[name], value) for name, value in config.cost_limits.items()),
        targets=tuple(_target(job, fidelities, one, deliveries) for one in found),
        cards={f"{engine}-{precision}": _card(fidelity) for (precision, engine), fidelity in fidelities.items()},
        linear_baseline_accuracy=linear_baseline(data),
        seconds={name: round(value, 2) for name, value in job.seconds.items()},
        reachable=tuple(
            report.Reach(one.target.name, name, units[name], low, high)
            for one in found for name, (low, high) in one.reachable.items()
        ),
        versions=versions(),
        command=command_line(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=config.seed,
        notes=(*_notes(found), *advice_for(job, found)),
    )  # fmt: skip


def _card(fidelity: Fidelity) -> report.Card:
    return report.Card(
        fidelity.table.mape, fidelity.table.within_10, fidelity.table.spearman, fidelity.noise_floor,
        fidelity.baseline.mape, fidelity.baseline.spearman, fidelity.n_test,
    )  # fmt: skip


def _target(job: Job, fidelities: Fidelities, found: Found, deliveries: Sequence[Delivery]) -> report.Target:
    target, result = found.target, found.result
    mine = [d for d in deliveries if d.shipped.target == target]
    return report.Target(
        precision=target.precision,
        engine=target.engine,
        architecture=dict(result.pick.architecture),
        blocks=_blocks(job, fidelities, [d.shipped for d in mine]),
        rows=tuple(_row(job, d) for d in mine),
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

    winner, twin = listed[0], by_name(listed[1]) if len(listed) > 1 else {}
    mine = by_name(winner)
    return tuple(
        report.Block(node.name, str(node.operator), node.operator.precision, mine[node.name], twin.get(node.name))
        for node in winner.network
    )


def _row(job: Job, d: Delivery) -> report.Row:
    limit = job.config.cost_limits.get("latency")
    within = None if limit is None or d.shipped.role != "winner" else d.timing.latency_us <= limit
    return report.Row(
        precision=d.shipped.precision,
        engine=d.shipped.engine,
        role="winner" if d.shipped.role == "winner" else "fp32 twin",
        accuracy=d.verified["accuracy"],
        predicted_us=d.shipped.predicted_us,
        measured_us=d.timing.latency_us,
        p50_us=d.timing.p50_us,
        p90_us=d.timing.p90_us,
        size_bytes=d.manifest["size_bytes"],
        peak_bytes=d.manifest["peak_bytes"],
        energy_uj=None,
        limit_ok=within,
        verified=d.verified["summary"],
        file=str(d.shipped.artefact.relative_to(job.config.folder)),
        weight_bytes=d.manifest["weight_bytes"],
    )


def advice_for(job: Job, found: Sequence[Found]) -> list[str]:
    """Where INT8 beats 1-bit on the target, the run says so instead of pretending."""
    from hwnas.kernels.target import parse_target
    from hwnas.kernels.throughput import advice

    binary = any(one.target.precision in ("w1a1", "mixed") for one in found)
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
