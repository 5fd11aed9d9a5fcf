"""The training loop: any rule, any net; one process, or several by torchrun with the same result.

Every rank sees its share of each batch, batch norm and losses are averaged over ranks, and all randomness comes from
(seed, epoch, step), so a run that was killed and resumed ends as an undisturbed one, and two processes as one.
"""

from __future__ import annotations

import io
import math
import os
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hwnas.data import Data, balanced
from hwnas.data.augmentation import Augmentation, drawn
from hwnas.data.pixels import IN_MEMORY
from hwnas.errors import HwnasError
from hwnas.paths import read_bytes, write_bytes
from hwnas.protocols import Batch, TrainingRule

CHECKPOINT_LIMIT = 64 << 30  # what a machine may hold; more is no supernet of ours
_NAMED = re.compile(r"(torch|torch\._utils|collections) \w{1,60}")  # what torch.save names in tensors and dicts
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


def world() -> tuple[int, int]:
    """(rank, number of processes); (0, 1) without torch.distributed."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def join_processes() -> None:
    """Joins the group when started by torchrun (RANK and WORLD_SIZE set): NCCL with GPUs, gloo without."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(device())
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def leave_processes() -> None:
    """Leaves the group: what follows training (calibration, scoring) is one process's work."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def device() -> torch.device:
    """This process's GPU when there is one, else the CPU."""
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


@dataclass(frozen=True)
class Draw:
    """This rank's share of one batch: which training images, and how they are augmented."""

    step: int
    indices: np.ndarray
    augment: Augmentation | None


def draws(count: int, schedule: Schedule, first_epoch: int = 0) -> Iterator[Draw]:
    """Every batch of `count` images from `first_epoch` on, shuffled by (seed, epoch); a smaller last one is dropped."""
    size = min(schedule.batch_size, count)
    rank, ranks = world()
    if size % ranks:
        raise HwnasError(f"batch_size {size} cannot be shared by {ranks} processes", hint="make it a multiple of them")
    share = slice(rank * size // ranks, (rank + 1) * size // ranks)
    per_epoch = steps_per_epoch(count, schedule)
    for epoch in range(first_epoch, schedule.epochs):
        order = np.random.default_rng((schedule.seed, epoch)).permutation(count)
        for i in range(per_epoch):
            augment = drawn(size, schedule.shift, schedule.flip, (schedule.seed, epoch, i))
            picked = order[i * size : (i + 1) * size][share]
            yield Draw(epoch * per_epoch + i, picked, augment.share(share) if augment else None)


class _Fetch:
    """Makes the batch of a draw, in this process or in a worker of torch's DataLoader."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor, int]:
        batch = self.data.batch("train", draw.indices, draw.augment)
        return batch.images, batch.labels, draw.step


def batches(data: Data, listed: Iterable[Draw], workers: int = 0) -> Iterator[Batch]:
    """The batches of some draws, on this process's device. `workers` processes load ahead; with 0 this one does."""
    fetch = _Fetch(data)
    loaded: Iterable[tuple[Tensor, Tensor, int]] = (fetch[draw] for draw in listed)
    if workers:
        # fork: a worker shares the mapped pixels, where another start would send it a copy of them.
        loaded = DataLoader(
            fetch, batch_size=None, sampler=listed, num_workers=workers, multiprocessing_context="fork",  # type: ignore[arg-type]
            pin_memory=device().type == "cuda", collate_fn=_as_it_is,
        )  # fmt: skip
    for images, labels, step in loaded:
        yield Batch(images.to(device(), non_blocking=True), labels.to(device(), non_blocking=True), step)


def _as_it_is(batch: Any) -> Any:
    return batch


HELD_BYTES = 8 << 20  # a batch of floats below this is made in under a millisecond: no process pays for itself


def workers_for(data: Data, schedule: Schedule) -> int:
    """Loading processes that pay: none for small batches or on a CPU that trains from memory; else up to four.

    What a worker hides is waiting for the disk and, beside a GPU, the making of floats. Beside a CPU that trains it
    can hide the disk alone, and one is enough.
    """
    height, width = data.facts["image_size"]
    if schedule.batch_size * height * width * data.facts["in_channels"] * 4 < HELD_BYTES:
        return 0
    if device().type == "cuda":
        return max(1, min(4, (os.cpu_count() or 1) - 1))
    return int(data.pixels.nbytes > IN_MEMORY)


def steps_per_epoch(count: int, schedule: Schedule) -> int:
    """Whole batches in `count` images, at least one."""
    return max(1, count // min(schedule.batch_size, count))


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
    net.to(device()).train()
    optimisers = optimisers_of(net, rule, schedule)
    count = data.sizes()["train"]
    per_epoch = steps_per_epoch(count, schedule)
    total = per_epoch * schedule.epochs
    first = _resume(checkpoint, identity, net, optimisers)
    used = workers_for(data, schedule) if workers is None else workers
    for batch in batches(data, draws(count, schedule, first), used):
        loss = step(net, rule, batch, optimisers, rate(schedule, batch.step, total), schedule)
        epoch, done = batch.step // per_epoch + 1, batch.step + 1
        if progress:
            progress(done, total, f"epoch {epoch}/{schedule.epochs} loss {loss:.3f}")
        if checkpoint and done % per_epoch == 0 and world()[0] == 0:
            state = {"identity": identity, "epoch": epoch, "net": net.state_dict()}
            save_state(checkpoint, state | {"optimisers": {g: o.state_dict() for g, o in optimisers.items()}})
    return net


def optimisers_of(net: nn.Module, rule: TrainingRule, schedule: Schedule) -> dict[str, torch.optim.AdamW]:
    """One AdamW a group of the rule's."""
    return {
        group: torch.optim.AdamW(list(parameters), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
        for group, parameters in rule.groups(net).items()  # type: ignore[arg-type]
    }


def step(
    net: nn.Module,
    rule: TrainingRule,
    batch: Batch,
    optimisers: dict[str, torch.optim.AdamW],
    lr: float,
    schedule: Schedule,
) -> float:
    """One batch: every step the rule yields, with gradients averaged over ranks. Returns the last loss."""
    value = math.nan
    for group, losses in rule.steps(net, batch):  # type: ignore[arg-type]
        optimiser = optimisers[group]
        optimiser.zero_grad(set_to_none=True)
        for loss in _computed(losses, schedule.bf16):
            value = float(loss.detach())
            if not math.isfinite(value):
                raise HwnasError(f"the training loss became {value} at step {batch.step}", hint="lower learning_rate")
            loss.backward()  # type: ignore[no-untyped-call]
        parameters = [p for g in optimiser.param_groups for p in g["params"] if p.grad is not None]
        _average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, schedule.clip)
        for g in optimiser.param_groups:
            g["lr"] = lr
        optimiser.step()
    return value


def _computed(losses: Iterable[Tensor], bf16: bool) -> Iterator[Tensor]:
    """The losses one by one; each forward pass, not what is done with it, runs in bfloat16 where that is asked for."""
    waiting = iter(losses)
    while True:
        with torch.autocast(device().type, torch.bfloat16, enabled=bf16):
            loss = next(waiting, None)
        if loss is None:
            return
        yield loss


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    ranks = world()[1]
    if ranks > 1:
        for parameter in parameters:
            assert parameter.grad is not None
            dist.all_reduce(parameter.grad)
            parameter.grad /= ranks


def save_state(path: Path, state: Any) -> None:
    """Tensors and plain values to one file, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def load_state(path: Path) -> Any:
    """What `save_state` wrote (no code is run from the file); HwnasError when it is truncated or something else."""
    if not Path(path).exists():
        raise HwnasError(f"checkpoint {path} does not exist")
    data = read_bytes(path, CHECKPOINT_LIMIT)
    try:
        _check_archive(data)
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as problem:  # torch and zipfile raise many kinds for a damaged archive
        reason = (str(problem).splitlines() or [type(problem).__name__])[0][:120]
        raise HwnasError(
            f"checkpoint {path} is truncated or not a checkpoint ({reason})", hint="move it away and train again"
        ) from None


def _check_archive(data: bytes) -> None:
    """Raises where the archive is not as it was written: torch would read tensors with flipped bits without a word.

    torch.save stores every tensor as it is, so an archive that would unpack to more than its own size is not ours.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > len(data):
            raise ValueError("it holds more than its size")
        torn = archive.testzip()
        if torn is not None:
            raise ValueError(f"{torn} does not have the checksum it was written with")
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                _check_names(archive.read(name))


def _check_names(pickled: bytes) -> None:
    """Raises where the pickle names anything but tensors: torch refuses it too, but takes minutes to say so where the
    name is a page of brackets (it searches its own message with a regular expression)."""
    for opcode, value, _ in pickletools.genops(pickled):
        if opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
            raise ValueError(f"torch.save writes no {opcode.name}")
        if opcode.name == "GLOBAL" and not _NAMED.fullmatch(str(value)):
            raise ValueError(f"it names {str(value)[:60]!r}")


def take_up(module: nn.Module, state: Any, path: Path) -> None:
    """Loads a checkpoint's `net` into the module; HwnasError where its tensors are not this net's."""
    try:
        module.load_state_dict(state["net"])
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError) as problem:
        raise HwnasError(
            f"checkpoint {path} does not hold this net: {' '.join(str(problem).split())[:200]}",
            hint="move it away and train again",
        ) from None


def _resume(checkpoint: Path | None, identity: str, net: nn.Module, optimisers: dict[str, torch.optim.AdamW]) -> int:
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
        return int(state["epoch"])
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError) as problem:
        raise HwnasError(
            f"checkpoint {checkpoint} does not hold this net's optimisers: {problem!r}",
            hint="move it away and train again",
        ) from None


@dataclass(frozen=True)
class Evaluation:
    """Share of images whose largest logit is the label, mean cross-entropy, and the number of images."""

    accuracy: float
    loss: float
    count: int


EVALUATED_PIXELS = 1 << 22  # of one channel, at once: 64 images of 224x224 keep a net's largest layer in 300 MB


def portions(data: Data, indices: np.ndarray) -> Iterator[np.ndarray]:
    """Indices in portions of at most 512 images that a net takes at once without a gigabyte of activations; of equal
    size but for one image, since batch norm learns little from a last portion of one."""
    height, width = data.facts["image_size"]
    size = max(1, min(512, EVALUATED_PIXELS // (height * width)))
    yield from np.array_split(indices, max(1, -(-len(indices) // size)))


def evaluate(net: nn.Module, data: Data, split: str, indices: np.ndarray | None = None) -> Evaluation:
    """The net on a whole split, or on some of its images, in evaluation mode."""
    net.eval()
    where = next(net.parameters()).device
    chosen = np.arange(data.sizes()[split]) if indices is None else indices
    count, right, lost = len(chosen), 0, 0.0
    with torch.no_grad():
        for some in portions(data, chosen):
            batch = data.batch(split, some)
            logits, labels = net(batch.images.to(where)).float().cpu(), batch.labels
            right += int((logits.argmax(1) == labels).sum())
            lost += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
    return Evaluation(right / count, lost / count, count)


def some_images(data: Data, count: int, seed: int) -> Iterator[Tensor]:
    """`count` training images, drawn class by class, in portions: for batch-norm recalibration."""
    for some in portions(data, balanced(data, "train", count, seed)):
        yield data.batch("train", some).images
