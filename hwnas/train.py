"""The training loop: any rule, any net; one process, or several by torchrun with the same result.

Every rank sees its share of each batch, batch norm and losses are averaged over ranks, and all randomness comes from
(seed, epoch, step), so a run that was killed and resumed ends as an undisturbed one, and two processes as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from hwnas import formats
from hwnas.batches import batches, draws, halves, portions, some_images, steps_per_epoch, workers_for
from hwnas.checkpoint import load_state, require_plain, save_state, take_up
from hwnas.errors import HwnasError, unknown
from hwnas.processes import average_gradients, device, join_processes, leave_processes, world
from hwnas.protocols import Batch, Data, NeedsHeldOut, OwnOptimiser, OwnRate, Stateful, Task, TrainingRule
from hwnas.tasks.classify import Classify

__all__ = [
    "Evaluation", "Progress", "Schedule", "batches", "device", "draws", "evaluate", "join_processes", "leave_processes",
    "load_rule", "load_state", "optimisers_of", "portions", "rate", "save_state", "set_rates", "some_images",
    "state_of", "step", "steps_per_epoch", "take_up", "train", "workers_for", "world",
]  # fmt: skip

Progress = Callable[[int, int, str], None]  # (steps done, steps in all, what is shown beside them)


@dataclass(frozen=True)
class Schedule:
    """AdamW with a cosine learning rate from `learning_rate` to 0 after a linear warm-up of `warmup` steps."""

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: int = 20
    shift: int = 0  # augmentation: random shifts of up to this many pixels, zero filled
    flip: bool = False  # augmentation: random horizontal flips
    clip: float = 5.0  # largest gradient norm
    bf16: bool = False  # forward passes in bfloat16 (torch.autocast): for GPUs and CPUs that have it in hardware
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise HwnasError(f"training needs {name} of at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0 or not math.isfinite(self.learning_rate):
            raise HwnasError(f"learning_rate must be above 0, got {self.learning_rate}")


def rate(schedule: Schedule, step: int, total: int) -> float:
    """Learning rate at a step: linear warm-up, then half a cosine to 0."""
    if step < schedule.warmup:
        return schedule.learning_rate * (step + 1) / schedule.warmup
    return (
        schedule.learning_rate
        * 0.5
        * (1 + math.cos(math.pi * (step - schedule.warmup) / max(1, total - schedule.warmup)))
    )


def train(
    net: nn.Module,
    rule: TrainingRule,
    data: Data,
    schedule: Schedule,
    checkpoint: Path | None = None,
    identity: str = "",
    progress: Progress | None = None,
    workers: int | None = None,
) -> nn.Module:
    """Trains `net` in place on the training split, and returns it.

    With `checkpoint` the state is saved whole after every epoch and taken up again by the next call of the same
    `identity` (a digest of data and settings). `workers` load batches ahead; None: as many as pay. HwnasError when the
    loss stops being a number.
    """
    _require_images(data, schedule)
    net.to(device()).train()
    optimisers = optimisers_of(net, rule, schedule)
    split = halves(data, schedule.seed) if isinstance(rule, NeedsHeldOut) and rule.needs_validation_batch else None
    count = len(split[0]) if split else data.sizes()["train"]
    per_epoch = steps_per_epoch(count, schedule)
    total = per_epoch * schedule.epochs
    first = _resume(checkpoint, identity, net, rule, optimisers)
    used = workers_for(data, schedule) if workers is None else workers
    trained = first > 0
    for batch in batches(data, draws(count, schedule, first, split), used, total):
        loss = step(net, rule, batch, optimisers, rate(schedule, batch.step, total), schedule)
        epoch, done = batch.step // per_epoch + 1, batch.step + 1
        if progress:
            progress(done, total, f"epoch {epoch}/{schedule.epochs} loss {loss:.3f}")
        if checkpoint and done % per_epoch == 0 and world()[0] == 0:
            state = {"identity": identity, "epoch": epoch, "net": net.state_dict(), **state_of(rule)}
            save_state(checkpoint, state | {"optimisers": {g: o.state_dict() for g, o in optimisers.items()}})
        trained = trained or not math.isnan(loss)
    if not trained:
        raise HwnasError(f"rule {type(rule).__name__} gave no loss in {total} steps: nothing was trained")
    return net


def _require_images(data: Data, schedule: Schedule) -> None:
    """HwnasError where images are to be moved about and there are none."""
    shapes = [port.shape for port in data.inputs.values()]
    if (schedule.shift or schedule.flip) and any(len(shape) != 3 for shape in shapes):
        raise HwnasError(
            f"train.shift and train.flip move images (C, H, W), data {data.name} holds {', '.join(map(str, shapes))}",
            hint="leave them out",
        )


def state_of(rule: TrainingRule) -> dict[str, Any]:
    """What a checkpoint holds of a rule: its state under "rule", or nothing where it has none."""
    if not isinstance(rule, Stateful):
        return {}
    state = dict(rule.state())
    require_plain(state, f"the state of rule {type(rule).__name__}")
    return {"rule": state}


def load_rule(rule: TrainingRule, state: Any, path: Path) -> None:
    """Gives a rule with a memory what a checkpoint holds of it; HwnasError where that is another rule's."""
    if not isinstance(rule, Stateful):
        return
    try:
        rule.load(state["rule"])
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError) as problem:
        raise HwnasError(
            f"checkpoint {path} does not hold this rule's state: {problem!r}", hint="move it away and train again"
        ) from None


class Scheduled(AdamW):
    """The loop's own optimiser: its rate follows the schedule."""


def optimisers_of(net: nn.Module, rule: TrainingRule, schedule: Schedule) -> dict[str, Optimizer]:
    """The optimiser of every group of the rule's: its own, or one AdamW."""
    made: dict[str, Optimizer] = {}
    held: set[int] = set()
    for group, listed in rule.groups(net).items():  # type: ignore[arg-type]
        parameters = list(listed)
        if not parameters or any(id(parameter) in held for parameter in parameters):
            told = "are in another group too" if parameters else "are none"
            raise HwnasError(
                f"group {group!r} of the training rule: its parameters {told}", hint="each is in one group"
            )
        held |= {id(parameter) for parameter in parameters}
        own = rule.optimiser(group, parameters) if isinstance(rule, OwnOptimiser) else None
        made[group] = own or Scheduled(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    return made


def step(
    net: nn.Module,
    rule: TrainingRule,
    batch: Batch,
    optimisers: dict[str, Optimizer],
    lr: float,
    schedule: Schedule,
) -> float:
    """One batch: every step the rule yields, with gradients averaged over ranks. Returns the last loss."""
    set_rates(rule, optimisers, lr, batch.progress)  # at once: a rule may look ahead along its optimiser's step
    with formats.at_progress(batch.progress):
        return _steps(net, rule, batch, optimisers, schedule)


def _steps(
    net: nn.Module, rule: TrainingRule, batch: Batch, optimisers: dict[str, Optimizer], schedule: Schedule
) -> float:
    value = math.nan
    for groups, losses in _yielded(rule, net, batch, optimisers):
        stepped = {group: optimisers[group] for group in groups}
        for optimiser in stepped.values():
            optimiser.zero_grad(set_to_none=True)
        for loss in _computed(losses, schedule.bf16):
            value = float(loss.detach())
            if not math.isfinite(value):
                raise HwnasError(f"the training loss became {value} at step {batch.step}", hint="lower learning_rate")
            loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in stepped.values():
            _update(optimiser, schedule.clip)
    return value


def _yielded(
    rule: TrainingRule, net: nn.Module, batch: Batch, known: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], Iterable[Tensor]]]:
    """The rule's steps as (groups, losses); HwnasError where they are something else, or of no group of the rule's."""
    for one in rule.steps(net, batch):  # type: ignore[arg-type]
        if not isinstance(one, tuple) or len(one) != 2:
            raise HwnasError(f"a training rule must yield (group or groups, losses), got {type(one).__name__}")
        groups = (one[0],) if isinstance(one[0], str) else tuple(one[0])
        for group in groups:
            if group not in known:
                raise unknown("group of the training rule", str(group), known)
        yield groups, one[1]


def set_rates(rule: TrainingRule, optimisers: dict[str, Optimizer], scheduled: float, progress: float) -> None:
    """The learning rates of this step: the rule's where it sets them, the schedule's for the loop's own optimiser."""
    for group, optimiser in optimisers.items():
        for held in optimiser.param_groups:
            if isinstance(rule, OwnRate):
                held["lr"] = rule.rate(group, progress, scheduled)
            elif isinstance(optimiser, Scheduled):
                held["lr"] = scheduled


def _update(optimiser: Optimizer, clip: float) -> None:
    """One optimiser's step from the gradients that lie at its parameters."""
    for held in optimiser.param_groups:
        parameters = [p for p in held["params"] if p.grad is not None]
        average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, held.get("clip", clip))
    optimiser.step()


def _computed(losses: Iterable[Tensor], bf16: bool) -> Iterator[Tensor]:
    """The losses one by one; each forward pass, not what is done with it, runs in bfloat16 where that is asked for."""
    waiting = iter(losses)
    while True:
        with torch.autocast(device().type, torch.bfloat16, enabled=bf16):
            loss = next(waiting, None)
        if loss is None:
            return
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            got = f"a tensor {tuple(loss.shape)} without one" if isinstance(loss, Tensor) else repr(loss)
            if isinstance(loss, Tensor) and loss.numel() != 1:
                got = f"{loss.numel()} numbers"
            raise HwnasError(f"a training rule's loss must be one number with a gradient, got {got}")
        yield loss


def _resume(
    checkpoint: Path | None, identity: str, net: nn.Module, rule: TrainingRule, optimisers: dict[str, Optimizer]
) -> int:
    """Takes up a checkpoint of the same identity; returns the first epoch still to do."""
    if checkpoint is None or not checkpoint.exists():
        return 0
    state = load_state(checkpoint)
    if not isinstance(state, dict) or state.get("identity") != identity:
        return 0
    take_up(net, state, checkpoint)
    try:
        for group, optimiser in optimisers.items():
            optimiser.load_state_dict(state["optimisers"][group])
        epoch = int(state["epoch"])
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError) as problem:
        raise HwnasError(
            f"checkpoint {checkpoint} does not hold this net's optimisers: {problem!r}",
            hint="move it away and train again",
        ) from None
    load_rule(rule, state, checkpoint)
    return epoch


@dataclass(frozen=True)
class Evaluation:
    """`accuracy` in the task's metric, the mean loss as the task judges it, and the number of examples."""

    accuracy: float
    loss: float
    count: int


def evaluate(
    net: nn.Module, data: Data, split: str, indices: np.ndarray | None = None, task: Task = Classify()
) -> Evaluation:
    """The net on a whole split, or on some of its examples, in evaluation mode."""
    net.eval()
    where = next(net.parameters()).device
    chosen = np.arange(data.sizes()[split]) if indices is None else indices
    rows = []
    with torch.no_grad():
        for some in portions(data, chosen):
            batch = data.batch(split, some)
            moved = Batch({name: x.to(where) for name, x in batch.inputs.items()}, batch.targets)
            rows.append(task.statistics(_arrays(net(moved.given)), batch.targets.numpy()))
    statistics = np.concatenate(rows)
    return Evaluation(task.reduce(statistics), float(statistics[:, -1].mean()), len(chosen))


def _arrays(outputs: Any) -> Any:
    """A net's output as numpy, or all of several by name; real numbers as float32, whatever they were computed in."""
    if isinstance(outputs, Mapping):
        return {name: _arrays(output) for name, output in outputs.items()}
    return (outputs.float() if outputs.is_floating_point() else outputs).cpu().numpy()
