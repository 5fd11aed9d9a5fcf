"""Export the winners of a run file and their fp32 twins as ONNX files and compiled libraries."""

from __future__ import annotations

from hwnas.cli._job import Limits, Out, RunPath, job_of
from hwnas.cli._output import Json, keeping, print_json, progress_console, results_console
from hwnas.units import readable_bytes


def export(run_file: RunPath, out: Out = None, limit: Limits = None, json_output: Json = False) -> None:
    """Examples:

    \b
        hwnas export examples/quickstart.yaml
        hwnas export my.yaml --json

    Does whatever the export needs and is missing. Files: model.int8.onnx (QDQ), model.binary.onnx (1-bit weights,
    packed), model.fp32.onnx, and the library's folder for targets of engine tvm.
    """
    from hwnas.pipeline import learning
    from hwnas.pipeline.run import export_all, prepare, search_all
    from hwnas.pipeline.shipping import shipments

    job = job_of(run_file, out, limit, quiet=False)
    with keeping(f"everything finished so far, in {job.config.folder}"):
        fidelities = prepare(job, progress_console().print)
        net = learning.train_supernet(job)
        listed = shipments(job, search_all(job, fidelities, net), fidelities)
        manifests = export_all(job, net, listed)
    if json_output:
        print_json([{**manifest, "file": str(one.artefact)} for one, manifest in zip(listed, manifests, strict=True)])
        return
    for one, manifest in zip(listed, manifests, strict=True):
        size = readable_bytes(manifest["size_bytes"])
        results_console().print(f"{one.target.name:18} {one.role:10} {one.artefact}  {size}  accuracy {manifest['expected_accuracy']:.2%}")
