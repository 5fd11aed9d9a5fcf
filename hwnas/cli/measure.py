"""Measure the blocks a run file's space can use, and grade the tables on random whole networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli._job import Device, KeepStale, Limits, Out, RunPath, Trusted, job_of
from hwnas.cli._output import Json, keeping, print_json, progress_lines, results_console
from hwnas.errors import HwnasError

if TYPE_CHECKING:
    from hwnas.fidelity import Fidelity
    from hwnas.measure.fill import Report
    from hwnas.pipeline.job import Job

Refresh = Annotated[bool, typer.Option("--refresh", help="Measure and grade everything again; old rows are set aside.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try blocks again that could not be measured.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many rows are missing and how long they take; end.")]


def measure(
    run_file: RunPath,
    out: Out = None,
    limit: Limits = None,
    device: Device = None,
    trust: Trusted = None,
    refresh: Refresh = False,
    retry_failed: RetryFailed = False,
    keep_stale: KeepStale = False,
    dry_run: DryRun = False,
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas measure examples/quickstart.yaml
        hwnas measure my.yaml --dry-run
        hwnas measure my.yaml --retry-failed --json

    Only missing rows are measured, and those of another engine version; what a new row replaces is kept in earlier/
    beside the table. The grade (error, share within 10 %, rank correlation, noise floor, a baseline of
    multiply-accumulates alone) goes into the device's card.json. The run file's data set is not read where `space:`
    gives in_channels and classes.
    """
    if run_file.suffix == ".onnx":
        raise HwnasError(f"{run_file} is a model, not a run file", hint=f"hwnas bench {run_file} times it")
    if refresh and keep_stale:
        raise HwnasError("--refresh measures every row again, --keep-stale keeps rows: give one of them")
    from hwnas.measure.fill import Renewal
    from hwnas.pipeline import searching, tables

    job = job_of(run_file, out, limit, device, trust)
    job.renew(Renewal(stale=job.renewal.stale and not keep_stale, failed=retry_failed, every=refresh))
    if dry_run:
        _print_work(tables.dry_run(job), json_output)
        return
    with keeping(f"the rows measured so far, in {job.config.tables}"):
        reports = tables.measure(job, progress_lines())
        fidelities = tables.grade(job)
    _print_grades(job, reports, fidelities, searching.reachable(job, fidelities), json_output)


def _print_grades(
    job: Job,
    reports: Sequence[Report],
    fidelities: Mapping[tuple[str, str], Fidelity],
    ranges: Mapping[str, Any],
    json_output: bool,
) -> None:
    """What was measured, how well it predicts, and what the space can reach."""
    lines = []
    for report, ((precision, engine), fidelity) in zip(reports, fidelities.items(), strict=True):
        counts = {"measured": report.measured, "reused": report.reused, "failed": len(report.failed)}
        tables = {"tables": [str(path) for path in report.tables]}
        lines.append({"precision": precision, "engine": engine, **counts, **fidelity.summary(), **tables})
    if json_output:
        print_json({"device": job.device.name, "lines": lines, "reachable": ranges})
        return
    results_console().print(_table(lines))
    for line in lines:
        results_console().print(_noise(line))
    for target, costs in ranges.items():
        results_console().print(
            f"{target} can reach " + ", ".join(f"{n} {low:.6g} to {high:.6g}" for n, (low, high) in costs.items())
        )


def _noise(line: dict[str, Any]) -> str:
    """Which statistics a limit can be on here."""
    each = ", ".join(f"{name} {judged['noise_floor']:.1%}" for name, judged in line["statistics"].items())
    of = f"{line['engine']} {line['precision']}"
    return f"{of}: noise {each or 'of the minimum alone'}; n is {line['samples']} or more a network"


def _print_work(works: list[Any], json_output: bool) -> None:
    """What is left to measure, a line each."""
    if json_output:
        print_json([asdict(work) for work in works])
        return
    for work in works:
        results_console().print(str(work))


def _table(lines: list[dict[str, object]]) -> object:
    from rich.table import Table

    table = Table(
        title="tables, graded on whole networks they never saw", title_justify="left", box=None, pad_edge=False
    )
    for heading in (
        "precision",
        "engine",
        "measured",
        "reused",
        "failed",
        "error",
        "within 10 %",
        "rank",
        "noise",
        "MACs only: error",
        "rank",
    ):
        table.add_column(heading, justify="left" if heading in ("precision", "engine") else "right")
    for line in lines:
        counts = [str(line[name]) for name in ("precision", "engine", "measured", "reused", "failed")]
        shares = [f"{line[name]:.1%}" for name in ("mape", "within_10")]
        baseline = [f"{line['noise_floor']:.1%}", f"{line['baseline_mape']:.1%}", f"{line['baseline_spearman']:.3f}"]
        table.add_row(*counts, *shares, f"{line['spearman']:.3f}", *baseline)
    return table
