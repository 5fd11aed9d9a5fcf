"""The exported files on the validation examples: what decides which of them to ship. Test examples take no part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwnas.confidence import shares
from hwnas.paths import digest_file
from hwnas.pipeline.identity import code_behind, code_of
from hwnas.pipeline.job import Job
from hwnas.pipeline.shipping import Shipped
from hwnas.protocols import Task


@dataclass(frozen=True)
class Answers:
    """`metric` of the task on all validation examples; `shares` float64 (n,): what each adds to it (for an accuracy 1
    where it is right); `loss` the mean loss."""

    metric: float
    shares: np.ndarray
    loss: float


def validate(job: Job, shipped: Shipped) -> Answers:
    """The ONNX file in ONNX Runtime, one example a call; a library was verified to give what its ONNX file gives."""
    import onnxruntime

    mark = [digest_file(shipped.model), job.data.digest, onnxruntime.__version__, job.config.task]
    code = code_of(["hwnas.pipeline.validating", "hwnas.confidence"]) | code_behind(job.task)
    name = f"export/{shipped.target.name}/validated-{shipped.precision}"
    kept = job.kept(name, mark, code)
    if kept is not None:
        return judged(job.task, np.array(kept["statistics"], dtype=np.float64))
    with job.stage("validate"):
        statistics = _statistics(job, shipped)
    job.keep(name, mark, {"statistics": statistics.tolist()}, code, replace=True)
    return judged(job.task, statistics)


def judged(task: Task, statistics: np.ndarray) -> Answers:
    """What the task makes of the statistics (n, k) of all examples."""
    return Answers(task.reduce(statistics), shares(task.reduce, statistics), float(statistics[:, -1].mean()))


def _statistics(job: Job, shipped: Shipped) -> np.ndarray:
    """float64 (n, k). A file that takes raw images (uint8) is given them as they are."""
    import onnxruntime

    from hwnas.batches import portions
    from hwnas.pipeline.raw_images import inputs

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.config.threads
    session = onnxruntime.InferenceSession(str(shipped.model), options, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in session.get_inputs()]
    targets, rows = job.data.targets("validation"), []
    for some in portions(job.data, np.arange(job.data.sizes()["validation"])):
        given = inputs(job, shipped.network, "validation", some)
        named = given if isinstance(given, Mapping) else {names[0]: given}
        each = [session.run(None, {n: x[i : i + 1].copy() for n, x in named.items()}) for i in range(len(some))]
        found = zip(session.get_outputs(), zip(*each, strict=True), strict=True)
        outputs = {spec.name: np.concatenate(one) for spec, one in found}
        rows.append(job.task.statistics(outputs if len(outputs) > 1 else next(iter(outputs.values())), targets[some]))
    return np.concatenate(rows)
