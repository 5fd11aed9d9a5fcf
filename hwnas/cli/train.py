"""Train the supernet of a run file, on CPU, one GPU, or several machines by torchrun."""

from __future__ import annotations

import os

from hwnas.cli._job import Device, Limits, Out, RunPath, Trusted, job_of
from hwnas.cli._output import Json, keeping, print_json, results_console
from hwnas.units import readable_metric


def train(
    run_file: RunPath,
    out: Out = None,
    limit: Limits = None,
    device: Device = None,
    trust: Trusted = None,
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas train examples/quickstart.yaml
        torchrun --nproc-per-node 2 -m hwnas train my.yaml

    A checkpoint is kept after every epoch; the same command goes on from it. Nothing is measured.
    """
    from hwnas.pipeline import learning

    job = job_of(run_file, out, limit, device, trust)
    with keeping(f"the last finished epoch, in {job.path('checkpoint.pt')}"), job.claimed():
        net = learning.train_supernet(job)
    if int(os.environ.get("RANK", "0")):
        return  # another process of torchrun's speaks for all
    scores = {}
    for precision in dict.fromkeys(t.precision for t in job.config.targets):
        space = job.space_of(precision)
        for name, architecture in (("largest", space.largest()), ("smallest", space.smallest())):
            alone = learning.alone(job, net, architecture)
            scores[f"{precision} {name}"] = learning.judge(job, alone, "validation").accuracy
    if json_output:
        print_json(
            {
                "supernet": str(job.path("supernet.pt")),
                "identity": learning.identity(job),
                "validation_accuracy": scores,
            }
        )
        return
    console = results_console()
    for name, value in scores.items():
        console.print(f"{name:16} {readable_metric(value, job.task.unit)} validation {job.task.metric}")
    console.print(f"wrote {job.path('supernet.pt')}")
