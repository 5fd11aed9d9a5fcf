"""Stages that need torch: train the supernet once, score architectures with it, take stand-alone nets out of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwnas.data import balanced
from hwnas.errors import HwnasError
from hwnas.fidelity import space_digest
from hwnas.network import Network, elements
from hwnas.paths import digest
from hwnas.pipeline.checkpoints import settled
from hwnas.pipeline.identity import NOT_TRAINING, TRAINING, code_behind, code_of, code_of_plugins
from hwnas.pipeline.job import Job
from hwnas.plug import Given, bind, resolve
from hwnas.progress import bar
from hwnas.protocols import ReadsFiles, Stateful, Supernet, TrainingRule, Wrapper
from hwnas.space import Architecture
from hwnas.supernet import Net, WeightSharing, extract, recalibrate
from hwnas.train import (
    Evaluation,
    Schedule,
    device,
    evaluate,
    join_processes,
    leave_processes,
    load_rule,
    load_state,
    save_state,
    some_images,
    state_of,
    steps_per_epoch,
    take_up,
    train,
    world,
)
from hwnas.units import readable_seconds

STARTED = "started"  # what is kept of the file that a wrapper starts from


def schedule(job: Job) -> Schedule:
    settings = job.config.train.model_dump(exclude={"rule", "wrapper", "finetune_epochs", "threads", "workers"})
    return Schedule(**settings, seed=job.config.seed)


def identity(job: Job) -> str:
    """What the trained supernet depends on: data, space, rule, schedule, code. Not on limits, tables or devices."""
    made_by = [job.config.train.rule, job.config.train.wrapper, job.config.task]
    settings = [*made_by, asdict(schedule(job))]
    parts: list[Any] = [job.data.digest, space_digest(job.space), *settings, *started(job)]
    return digest([parts, code(job)])


def started(job: Job) -> list[str]:
    """The digest of the file that the wrapper starts from, [] where there is none.

    Where the file is gone, that of what this run was started from: what is trained is there, and needs it no more.
    HwnasError where nothing was.
    """
    wrapper: Any = make_wrapper(job)
    if not isinstance(wrapper, ReadsFiles):
        return []
    if wrapper.start is None or wrapper.start.exists():
        return [wrapper.digest()]
    kept = job.kept(STARTED, job.config.train.wrapper)
    if kept is None:
        raise HwnasError(
            f"train.wrapper: start {wrapper.start} does not exist", hint="the supernet.pt of another run, trained first"
        )
    return [str(kept)]


def _begin(job: Job, net: Any) -> None:
    """Gives a supernet that is about to be trained the weights that its wrapper starts from."""
    wrapper: Any = make_wrapper(job)
    if isinstance(wrapper, ReadsFiles):
        wrapper.begin(net)
        if world()[0] == 0:
            job.keep(STARTED, job.config.train.wrapper, wrapper.digest())


def code(job: Job) -> dict[str, str]:
    """Digests of the source files that decide the trained supernet, the user's own rule, wrapper, task, data, space
    and blocks included."""
    space = resolve(job.config.space["use"], "spaces", job.config.trust)
    own = code_behind(
        *(one for one in (make_rule(job), make_wrapper(job), job.task, type(job.data), space) if one is not None)
    )
    return code_of(TRAINING, NOT_TRAINING) | own | code_of_plugins(job.space)


def given(job: Job) -> Given:
    """What a rule or a wrapper may ask for by name. Costs and the device are the search's: one supernet
    serves them all."""
    return Given(
        {
            "space": lambda: job.space,
            "seed": lambda: job.config.seed,
            "task": lambda: job.task,
            "data": lambda: job.data,
        }
    )


def make_rule(job: Job) -> TrainingRule:
    settings = dict(job.config.train.rule)
    use = settings.pop("use", "rule.sandwich:Sandwich")
    rule: TrainingRule = bind(
        resolve(use, "methods", job.config.trust, (TrainingRule,)),
        settings,
        given(job),
        f"train.rule ({use})",
    )
    return rule


def make_wrapper(job: Job) -> Wrapper | None:
    """What changes the supernet before it is trained; None where the run file names nothing."""
    if job.config.train.wrapper is None:
        return None
    settings = dict(job.config.train.wrapper)
    use = settings.pop("use", None)
    if use is None:
        raise HwnasError("train.wrapper: 'use' must name a wrapper", hint="wrapper.file:Name or package.module:Name")
    made = resolve(use, "methods", job.config.trust, (Wrapper,))
    wrapper: Wrapper = bind(made, settings, given(job), f"train.wrapper ({use})")
    return wrapper


def supernet(job: Job) -> Any:
    """The supernet that is trained, with its first weights: that of the space, or what the wrapper makes of it."""
    net, wrapper = WeightSharing(job.space, job.config.seed), make_wrapper(job)
    wrapped = net if wrapper is None else wrapper(net)
    if not isinstance(wrapped, Supernet):
        raise HwnasError(
            f"train.wrapper must give a supernet, got {type(wrapped).__name__}",
            hint="a torch module with space and tensors(node, selection): hwnas/protocols.py",
        )
    return wrapped


def trained_rule(job: Job) -> TrainingRule:
    """The rule as training left it: what a decoder reads architecture parameters from."""
    rule, path = make_rule(job), job.path("supernet.pt")
    if isinstance(rule, Stateful):
        train_supernet(job)
        load_rule(rule, load_state(path), path)
    return rule


def train_supernet(job: Job) -> Any:
    """The trained supernet: read back when it is there, taken up again from its last epoch when it was cut off."""
    with job.stage("train"):
        if job.config.train.threads:
            torch.set_num_threads(job.config.train.threads)
        net, rule = supernet(job), make_rule(job)
        mark, final = identity(job), job.path("supernet.pt")
        state = settled(job, final, mark, code(job))
        if state is not None:
            take_up(net, state, final)
            return net.to(device())
        unfinished = settled(job, job.path("checkpoint.pt"), mark, code(job), "starting anew")
        join_processes()
        if unfinished is None:
            _begin(job, net)
        with bar("training the supernet", job.progress and world()[0] == 0) as shown:
            workers = job.config.train.workers
            train(net, rule, job.data, schedule(job), job.path("checkpoint.pt"), mark, shown, workers)
        if world()[0] == 0:
            made = {"identity": mark, "code": code(job), "torch": str(torch.__version__)}
            made |= {"space": space_digest(job.space), "data": job.data.digest}  # for a run that starts from this
            save_state(final, made | {"net": net.state_dict(), **state_of(rule)})
            job.path("checkpoint.pt").unlink(missing_ok=True)
        leave_processes()
        return net


def alone(job: Job, net: Any, architecture: Architecture) -> Net:
    """The stand-alone net of an architecture, batch norm recalibrated on training images."""
    return recalibrate(extract(net, architecture), typical(job))


def typical(job: Job) -> Iterator[torch.Tensor]:
    """The training images that recalibration and calibration see, in portions: drawn class by class from the seed."""
    return some_images(job.data, job.config.search.recalibration_images, job.config.seed)


def judge(job: Job, net: torch.nn.Module, split: str, indices: np.ndarray | None = None) -> Evaluation:
    """A net on a split of the job's data, or on some of it, by the job's task."""
    return evaluate(net, job.data, split, indices, job.task)


# -- what ships ------------------------------------------------------------------------------------------------------

ROUNDS = 4  # at most, each of a quarter of the supernet's epochs: a winner trains no longer than the supernet did
TIMED_STEPS = 3


@dataclass(frozen=True)
class Deployable:
    """The net to ship, in evaluation mode on the CPU, and `record`: epochs trained further, validation accuracy as
    inherited from the supernet and as shipped, seconds."""

    net: Net
    record: dict[str, float]


def rounds(job: Job) -> list[int]:
    """Epochs of each round of further training: `finetune_epochs` in one, or as many as may pay; [] is none."""
    asked = job.config.train.finetune_epochs
    if asked is None:
        return [max(1, job.config.train.epochs // ROUNDS)] * ROUNDS
    return [asked] if asked else []


VERIFIED_BYTES = 256 << 20  # of float32 images: every exported file carries them, and a slow exact reference runs them


def verified(job: Job, network: Network) -> np.ndarray:
    """Test examples that exported files are run on: all, or as many as VERIFIED_BYTES hold, drawn class by class."""
    count = max(100, VERIFIED_BYTES // (4 * sum(elements(port.shape) for port in network.inputs.values())))
    return np.sort(balanced(job.data, "test", count, job.config.seed))


def deployable(job: Job, net: Any, architecture: Architecture) -> Deployable:
    """A winner with weights of its own, kept by architecture: what the supernet lends, trained further while it pays.

    Every round is a cosine of its own that starts from the best net so far; the first that betters neither the metric
    on validation data nor, where that is equal, the loss is dropped and is the last. So nothing worse than the
    inherited net is ever shipped.
    """
    ready = extract(net, architecture)
    path = _further_path(job, architecture)
    state = _further_state(path)
    if state is None:
        start = judge(job, recalibrate(ready, typical(job)), "validation")
        record = {"epochs": 0, "inherited_accuracy": start.accuracy, "accuracy": start.accuracy, "seconds": 0.0}
        state = {"net": _copied(ready), "record": record, "loss": start.loss, "round": 0}
    ready.load_state_dict(state["net"])
    listed = rounds(job)
    while state["round"] < len(listed):
        state = _further(job, ready, state, listed, path)
        ready.load_state_dict(state["net"])
        save_state(path, state)
        path.with_suffix(".part").unlink(missing_ok=True)
    return Deployable(ready.cpu().eval(), dict(state["record"]))


def _further(job: Job, net: Net, state: dict[str, Any], listed: list[int], path: Path) -> dict[str, Any]:
    """One round from `state`'s net: the state it leaves, with a round number past the end where it gave nothing."""
    from hwnas.methods.rule.plain import Plain

    number, record = int(state["round"]), state["record"]
    settings = replace(
        schedule(job), epochs=listed[number], learning_rate=job.config.train.learning_rate / 3,
        seed=job.config.seed + 1 + number,
    )  # fmt: skip
    begun = time.monotonic()
    mark = f"{path.stem}-{number}"
    with bar(f"training the winner, round {number + 1} of {len(listed)} at most", job.progress) as shown:
        train(
            net, Plain(job.task), job.data, settings, path.with_suffix(".part"), mark, shown, job.config.train.workers
        )
    found = judge(job, recalibrate(net, typical(job)), "validation")
    record = {**record, "seconds": record["seconds"] + time.monotonic() - begun}
    if (found.accuracy, -found.loss) <= (record["accuracy"], -state["loss"]):
        return {**state, "record": record, "round": len(listed)}
    record = {**record, "epochs": record["epochs"] + listed[number], "accuracy": found.accuracy}
    return {"net": _copied(net), "record": record, "loss": found.loss, "round": number + 1}


def _copied(net: Net) -> dict[str, torch.Tensor]:
    """The net's state as training will not change it."""
    return {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}


def _further_path(job: Job, architecture: Architecture) -> Path:
    network = sorted((name, str(value)) for name, value in architecture.items())
    mark = digest([identity(job), rounds(job), job.config.search.recalibration_images, network])
    return job.path("finetuned", f"{mark}.pt")


def _further_state(path: Path) -> dict[str, Any] | None:
    """What an earlier call left, whole or between two rounds."""
    state = load_state(path) if path.exists() else None
    return state if isinstance(state, dict) and {"net", "record", "loss", "round"} <= state.keys() else None


class _Enough(Exception):
    """Ends a training that was only to be timed."""


def further_estimate(job: Job, net: Any, architectures: Sequence[Architecture]) -> str | None:
    """How long further training may take, from a few timed steps of every winner; None where nothing is left to do."""
    from hwnas.methods.rule.plain import Plain

    listed, waiting = rounds(job), []
    for architecture in dict.fromkeys(architectures):
        state = _further_state(_further_path(job, architecture))
        if listed and (state is None or state["round"] < len(listed)):
            waiting.append(architecture)
    if not waiting:
        return None
    settings, count = schedule(job), job.data.sizes()["train"]
    seconds = 0.0
    for architecture in waiting:
        probe = extract(net, architecture)
        taken: list[float] = []

        def clock(done: int, total: int, note: str, taken: list[float] = taken) -> None:
            taken.append(time.monotonic())
            if len(taken) > TIMED_STEPS:
                raise _Enough

        with contextlib.suppress(_Enough):
            train(probe, Plain(job.task), job.data, replace(settings, epochs=max(listed)), progress=clock, workers=0)
        step = (taken[-1] - taken[0]) / max(1, len(taken) - 1)
        seconds += step * steps_per_epoch(count, settings) * sum(listed)
    return (
        f"training {len(waiting)} nets further: {sum(listed)} epochs each at most, "
        f"{readable_seconds(seconds)} in all; ends sooner where it gives no more (train.finetune_epochs: 0 is off)"
    )
