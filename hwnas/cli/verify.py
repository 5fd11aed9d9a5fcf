"""Verify a run's exported files in a fresh process, and time them again on the device."""

from __future__ import annotations

from hwnas.cli._job import Device, Limits, Out, RunPath, job_of
from hwnas.cli._output import Json, keeping, print_json, progress_lines, results_console
from hwnas.units import readable_us


def verify(
    run_file: RunPath, out: Out = None, limit: Limits = None, device: Device = None, json_output: Json = False
) -> None:
    """Examples:

    \b
        hwnas verify examples/quickstart.yaml
        hwnas verify my.yaml --limit latency_ms=0.4

    Exit 1 when a file's outputs differ from the quantised module's, or a winner's measured latency is above the limit.
    """
    from hwnas.pipeline import learning
    from hwnas.pipeline.run import breaches, deliver, export_all, prepare, search_all
    from hwnas.pipeline.shipping import fail_over_limit, shipments

    job = job_of(run_file, out, limit, device)
    with keeping(f"everything finished so far, in {job.config.folder}"):
        fidelities = prepare(job, progress_lines())
        net = learning.train_supernet(job)
        listed = shipments(job, search_all(job, fidelities, net), fidelities)
        deliveries = deliver(job, listed, export_all(job, net, listed))
    if json_output:
        print_json(
            [{"file": str(d.shipped.artefact), **d.verified, "measured_us": d.timing.latency_us} for d in deliveries]
        )
    else:
        for d in deliveries:
            results_console().print(
                f"{d.shipped.artefact}  {readable_us(d.timing.latency_us)}  {d.verified['summary']}"
            )
    fail_over_limit(breaches(job, deliveries))
