"""Stages that need torch: train the supernet once, score architectures with it, take stand-alone nets out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from hwnas.fidelity import space_digest
from hwnas.paths import digest
from hwnas.pipeline.checkpoints import settled
from hwnas.pipeline.identity import NOT_TRAINING, TRAINING, code_behind, code_of, code_of_plugins
from hwnas.pipeline.job import Job
from hwnas.plug import bind, resolve
from hwnas.progress import bar
from hwnas.protocols import TrainingRule
from hwnas.space import Architecture
from hwnas.supernet import Net, WeightSharing, extract, recalibrate
from hwnas.train import (
    Schedule,
    device,
    join_processes,
    leave_processes,
    load_state,
    save_state,
    some_images,
    train,
    world,
)
from hwnas.train import (
    evaluate as evaluate,  # the stages take it from here, beside what they evaluate
)


def schedule(job: Job) -> Schedule:
    settings = job.config.train.model_dump(exclude={"rule", "finetune_epochs", "threads"})
    return Schedule(**settings, seed=job.config.seed)


def identity(job: Job) -> str:
    """What the trained supernet depends on: data, space, rule, schedule, code. Not on limits, tables or devices."""
    parts: list[Any] = [job.data.digest, space_digest(job.space), job.config.train.rule, asdict(schedule(job))]
    return digest([parts, code(job)])


def code(job: Job) -> dict[str, str]:
    """Digests of the source files that decide the trained supernet, the user's own rule, space and blocks included."""
    own = code_behind(make_rule(job), resolve(job.config.space["use"], "spaces"))
    return code_of(TRAINING, NOT_TRAINING) | own | code_of_plugins(job.space)


def make_rule(job: Job) -> TrainingRule:
    settings = dict(job.config.train.rule)
    use = settings.pop("use", "rule.sandwich:Sandwich")
    rule: TrainingRule = bind(
        resolve(use, "methods"), settings, {"space": job.space, "seed": job.config.seed}, f"train.rule ({use})"
    )
    return rule


def train_supernet(job: Job) -> WeightSharing:
    """The trained supernet: read back when it is there, taken up again from its last epoch when it was cut off."""
    with job.stage("train"):
        if job.config.train.threads:
            torch.set_num_threads(job.config.train.threads)
        net = WeightSharing(job.space, job.config.seed)
        mark, final = identity(job), job.path("supernet.pt")
        state = settled(job, final, mark, code(job))
        if state is not None:
            net.load_state_dict(state["net"])
            return net.to(device())
        settled(job, job.path("checkpoint.pt"), mark, code(job), "starting anew")
        join_processes()
        with bar("training the supernet", job.progress and world()[0] == 0) as shown:
            train(net, make_rule(job), job.data, schedule(job), job.path("checkpoint.pt"), mark, shown)
        if world()[0] == 0:
            save_state(
                final, {"identity": mark, "code": code(job), "torch": str(torch.__version__), "net": net.state_dict()}
            )
            job.path("checkpoint.pt").unlink(missing_ok=True)
        leave_processes()
        return net


def alone(job: Job, net: WeightSharing, architecture: Architecture) -> Net:
    """The stand-alone net of an architecture, batch norm recalibrated on training images."""
    return recalibrate(extract(net, architecture), typical(job))


def typical(job: Job) -> Iterator[torch.Tensor]:
    """The training images that recalibration and calibration see, in portions: drawn class by class from the seed."""
    return some_images(job.data, job.config.search.recalibration_images, job.config.seed)


def deployable(job: Job, net: WeightSharing, architecture: Architecture) -> Net:
    """The net to ship: from the supernet as it is, or trained further for `finetune_epochs`, kept by architecture."""
    ready = alone(job, net, architecture)
    epochs = job.config.train.finetune_epochs
    if not epochs:
        return ready
    mark = digest([identity(job), epochs, sorted((k, str(v)) for k, v in architecture.items())])
    path = job.path("finetuned", f"{mark}.pt")
    if path.exists():
        ready.load_state_dict(load_state(path)["net"])
        return ready.eval()
    settings = Schedule(
        **{**asdict(schedule(job)), "epochs": epochs, "learning_rate": job.config.train.learning_rate / 3}
    )
    from hwnas.methods.rule.plain import Plain

    with bar("training the winner", job.progress) as shown:
        train(ready, Plain(), job.data, settings, path.with_suffix(".part"), mark, shown)
    ready = recalibrate(ready.cpu(), typical(job))
    save_state(path, {"net": ready.state_dict()})
    path.with_suffix(".part").unlink(missing_ok=True)
    return ready
