"""The exported files on the validation images: what decides which of them to ship. Test images take no part in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.paths import digest_file
from hwnas.pipeline.identity import code_of
from hwnas.pipeline.job import Job
from hwnas.pipeline.shipping import Shipped


@dataclass(frozen=True)
class Answers:
    """`correct` bool (n,): the images that are classified right; `loss` the mean cross entropy in nats."""

    correct: np.ndarray
    loss: float


def validate(job: Job, shipped: Shipped) -> Answers:
    """The ONNX file in ONNX Runtime, image by image; a library was verified to give the outputs of its ONNX file."""
    import onnxruntime

    mark = [digest_file(shipped.model), job.data.digest, onnxruntime.__version__]
    code = code_of(["hwnas.pipeline.validating"])
    name = f"export/{shipped.target.name}/validated-{shipped.precision}"
    kept = job.kept(name, mark, code)
    if kept is not None:
        return Answers(np.array([right == "1" for right in kept["correct"]]), float(kept["loss"]))
    with job.stage("validate"):
        logits = _logits(job, shipped)
    answers = judged(logits, job.data.targets("validation"))
    correct = "".join("1" if right else "0" for right in answers.correct)
    job.keep(name, mark, {"correct": correct, "loss": answers.loss}, code, replace=True)
    return answers


def judged(logits: np.ndarray, labels: np.ndarray) -> Answers:
    """Which of the logits (n, classes) are largest at their labels (n,), and the mean cross entropy of all."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_share = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return Answers(logits.argmax(axis=1) == labels, float(-log_share[np.arange(len(labels)), labels].mean()))


def _logits(job: Job, shipped: Shipped) -> np.ndarray:
    """float32 (n, classes). A file that takes raw images (uint8) is given them as they are."""
    import onnxruntime

    from hwnas.train import portions

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.config.threads
    session = onnxruntime.InferenceSession(str(shipped.model), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    rows = []
    for some in portions(job.data, np.arange(job.data.sizes()["validation"])):
        for image in _images(job, shipped, some, entry.type == "tensor(uint8)"):
            rows.append(session.run(None, {entry.name: image.reshape(entry.shape)})[0].reshape(-1))
    return np.stack(rows)


def _images(job: Job, shipped: Shipped, some: np.ndarray, raw: bool) -> Any:
    from hwnas.supernet import resize

    if raw:
        return job.data.raw("validation", some)
    return resize(job.data.batch("validation", some).images, shipped.network.input_shape).contiguous().numpy()
