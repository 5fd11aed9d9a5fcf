"""The whole pipeline: measure, train, search, export, verify, time, report; resumed where it stopped."""

from __future__ import annotations

from dataclasses import asdict

from hwnas.cli._job import Device, KeepStale, Limits, Out, RunPath, Trusted, job_of
from hwnas.cli._output import Json, keeping, print_json, progress_lines, results_console


def run(
    run_file: RunPath,
    out: Out = None,
    limit: Limits = None,
    device: Device = None,
    trust: Trusted = None,
    keep_stale: KeepStale = False,
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas run examples/quickstart.yaml
        hwnas run my.yaml --limit latency_ms=0.4
        hwnas run my.yaml --json > results.json

    Every finished row, epoch and stage is kept: after a kill the same command goes on, and a run that changes only
    the limit measures and trains nothing again. Rows of another engine version are measured again unless --keep-stale;
    hwnas measure has --refresh for every row and --retry-failed for failed ones. The last line is the answer: which
    file to ship, and why. Exit 1 when a winner is over any of its limits as measured; for a device that is not this
    machine, by its copied profile and tables, nothing is timed: latencies are predictions and are called so.
    """
    from hwnas.measure.fill import Renewal
    from hwnas.pipeline.limits import fail_over_limit
    from hwnas.pipeline.run import run as run_all
    from hwnas.report.findings import breaches
    from hwnas.report.terminal import print_results

    job = job_of(run_file, out, limit, device, trust)
    job.renew(Renewal(stale=job.renewal.stale and not keep_stale))
    with keeping(f"everything finished so far, in {job.config.tables} and {job.config.folder}"), job.claimed():
        results = run_all(job, say=progress_lines())
    if json_output:
        print_json(asdict(results))
    else:
        console = results_console()
        console.print(f"wrote {job.path('report.html')}")
        print_results(results, console)  # the file to ship comes last
    fail_over_limit(breaches(results))
