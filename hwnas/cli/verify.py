"""Verify a run's exported files, or one file alone, in a fresh process; a run's are timed again where they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli._job import Device, Limits, Out, RunPath, Trusted, job_of
from hwnas.cli._output import Json, keeping, print_json, progress_lines, results_console
from hwnas.errors import CheckFailed, HwnasError
from hwnas.units import readable_metric, readable_us

Samples = Annotated[Path | None, typer.Option(help="Inputs, labels and expected outputs (.npz), to verify one file.")]


def verify(
    run_file: RunPath,
    out: Out = None,
    limit: Limits = None,
    device: Device = None,
    samples: Samples = None,
    trust: Trusted = None,
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas verify examples/quickstart.yaml
        hwnas verify my.yaml --limit latency_ms=0.4
        hwnas verify runs/quickstart/export/int8-tvm/model.int8.onnx
        hwnas verify pi --samples expected.int8.npz

    Given an .onnx file or the folder of a native library, only its outputs are compared: with those in --samples (an
    .npz of images, labels, expected; of several inputs or outputs each by its name: input/NAME, expected/NAME), by
    default the expected.*.npz that the export left beside it.
    Exit 1 when a file's outputs differ from the quantised module's, or a winner's measured latency is above the limit
    (its predicted one where the device is not this machine, where nothing is timed).
    """
    if run_file.suffix in (".so", ".a", ".wasm"):
        raise HwnasError(f"{run_file} is a part of a native library", hint=f"give its folder, {run_file.parent}")
    if run_file.suffix == ".onnx" or run_file.is_dir():
        _one_file(run_file, samples, json_output)
        return
    from hwnas.pipeline import learning
    from hwnas.pipeline.limits import fail_over_limit
    from hwnas.pipeline.run import breaches, deliver, export_all, prepare, search_all
    from hwnas.pipeline.shipping import shipments

    job = job_of(run_file, out, limit, device, trust)
    with keeping(f"everything finished so far, in {job.config.folder}"), job.claimed():
        fidelities = prepare(job, progress_lines())
        net = learning.train_supernet(job)
        listed = shipments(job, search_all(job, fidelities, net), fidelities)
        deliveries = deliver(job, export_all(job, net, listed), fresh=True)
    if json_output:
        print_json(
            [
                {
                    "file": str(d.shipped.artefact),
                    **d.verified,
                    **d.measured.record(),
                    "predicted_us": d.shipped.predicted_us,
                    **d.verdicts,
                }
                for d in deliveries
            ]
        )
    else:
        for d in deliveries:
            took = ", ".join(f"{name} {readable_us(value)}" for name, value in d.measured.latencies_us.items())
            if d.measured.not_timed:
                known = "" if d.shipped.predicted_us is None else f"predicted {readable_us(d.shipped.predicted_us)}, "
                took = known + d.measured.not_timed
            results_console().print(f"{d.shipped.artefact}  {took}  {d.verified['summary']}", soft_wrap=True)
    fail_over_limit(breaches(job, deliveries))


def _one_file(artefact: Path, samples: Path | None, json_output: bool) -> None:
    """One exported file against expected outputs."""
    from hwnas.pipeline.verifying import verify_alone

    result, task = verify_alone(artefact, samples)
    if json_output:
        print_json(result.record())
    else:
        judged = ""
        if task is not None and result.accuracy is not None:
            judged = f"{task.metric} {readable_metric(result.accuracy, task.unit)}  "
        results_console().print(f"{artefact}  {judged}{result}", soft_wrap=True)
    if not result.ok:
        raise CheckFailed(f"{artefact} does not give the expected outputs: {result}")
