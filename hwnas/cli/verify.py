"""Verify a run's exported files, or one file alone, in a fresh process; a run's are timed again on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli._job import Device, Limits, Out, RunPath, Trusted, job_of
from hwnas.cli._output import Json, keeping, print_json, progress_lines, results_console
from hwnas.errors import CheckFailed, HwnasError
from hwnas.paths import read_json
from hwnas.schema import validated
from hwnas.units import readable_us

Samples = Annotated[Path | None, typer.Option(help="Images, labels and expected outputs (.npz), to verify one file.")]


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
    .npz of images, labels, expected), by default the expected.*.npz that the export left beside it.
    Exit 1 when a file's outputs differ from the quantised module's, or a winner's measured latency is above the limit.
    """
    from hwnas.pipeline import learning
    from hwnas.pipeline.run import breaches, deliver, export_all, prepare, search_all
    from hwnas.pipeline.shipping import fail_over_limit, shipments

    if run_file.suffix == ".onnx" or run_file.is_dir():
        _one_file(run_file, samples, json_output)
        return
    job = job_of(run_file, out, limit, device, trust)
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


def _one_file(artefact: Path, samples: Path | None, json_output: bool) -> None:
    """One exported file against expected outputs."""
    import numpy as np

    from hwnas.export.verify import EXACT, Tolerance
    from hwnas.export.verify import verify as verify_file

    precision = (
        artefact.name.removeprefix("model.").removeprefix("native-").removesuffix(".onnx").replace("binary", "w1a1")
    )
    samples = samples or artefact.parent / f"expected.{precision}.npz"
    try:
        with np.load(samples) as held:
            images, labels, expected = (held[name] for name in ("images", "labels", "expected"))
    except (OSError, ValueError, KeyError) as problem:
        raise HwnasError(
            f"{samples} does not hold images, labels and expected: {problem}", hint="--samples FILE.npz"
        ) from None
    manifest = artefact.parent / "manifest.json"
    entries = read_json(manifest) if manifest.exists() else {}
    entry = entries.get(precision, {}) if isinstance(entries, dict) else {}
    tolerance = EXACT
    if isinstance(entry, dict) and "tolerance" in entry:
        tolerance = validated(Tolerance, entry["tolerance"], f"{manifest}: {precision}.tolerance", "export it again")
    result = verify_file(artefact, images, labels, expected, tolerance)
    if json_output:
        print_json(result.record())
    else:
        results_console().print(f"{artefact}  accuracy {result.accuracy:.2%}  {result}", soft_wrap=True)
    if not result.ok:
        raise CheckFailed(f"{artefact} does not give the expected outputs: {result}")
