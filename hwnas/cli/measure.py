"""Measure the blocks a run file's space can use, and grade the tables on random whole networks."""

from __future__ import annotations

from hwnas.cli._job import Device, Limits, Out, RunPath, Trusted, job_of
from hwnas.cli._output import Json, keeping, print_json, results_console


def measure(
    run_file: RunPath,
    out: Out = None,
    limit: Limits = None,
    device: Device = None,
    trust: Trusted = None,
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas measure examples/quickstart.yaml
        hwnas measure my.yaml --json

    Only missing rows are measured. The grade (error, share within 10 %, rank correlation, noise floor, a baseline of
    multiply-accumulates alone) goes into the device's card.json.
    """
    from hwnas.pipeline import searching, tables

    job = job_of(run_file, out, limit, device, trust)
    with keeping(f"the rows measured so far, in {job.config.tables}"):
        reports = tables.measure(job)
        fidelities = tables.grade(job)
    ranges = searching.reachable(job, fidelities)
    lines = []
    for report, ((precision, engine), fidelity) in zip(reports, fidelities.items(), strict=True):
        counts = {"measured": report.measured, "reused": report.reused, "failed": len(report.failed)}
        lines.append(
            {
                "precision": precision,
                "engine": engine,
                **counts,
                **fidelity.summary(),
                "tables": [str(p) for p in report.tables],
            }
        )
    if json_output:
        print_json({"device": job.device.name, "lines": lines, "reachable": ranges})
        return
    results_console().print(_table(lines))
    for target, costs in ranges.items():
        results_console().print(
            f"{target} can reach " + ", ".join(f"{n} {low:.6g} to {high:.6g}" for n, (low, high) in costs.items())
        )


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
