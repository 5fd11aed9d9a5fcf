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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

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


def batches(images: Tensor, labels: Tensor, schedule: Schedule, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """This rank's share of every shuffled, augmented batch of an epoch; a smaller last one is dropped."""
    rng = np.random.default_rng((schedule.seed, epoch))
    order = rng.permutation(len(images))
    size = min(schedule.batch_size, len(images))
    rank, ranks = world()
    if size % ranks:
        raise HwnasError(f"batch_size {size} cannot be shared by {ranks} processes", hint="make it a multiple of them")
    for start in range(0, len(order) - size + 1, size):
        picked = torch.from_numpy(order[start : start + size])
        batch = augmented(images[picked], schedule, rng)
        share = slice(rank * size // ranks, (rank + 1) * size // ranks)
        yield batch[share], labels[picked][share]


def augmented(images: Tensor, schedule: Schedule, rng: np.random.Generator) -> Tensor:
    """Random shifts and flips of images (N, C, H, W)."""
    n, reach = len(images), schedule.shift
    if reach:
        height, width = images.shape[-2:]
        padded = nn.functional.pad(images, (reach,) * 4)
        tops, lefts = rng.integers(0, 2 * reach + 1, (2, n))
        images = torch.stack(
            [padded[i, :, t : t + height, x : x + width] for i, (t, x) in enumerate(zip(tops, lefts, strict=True))]
        )
    if schedule.flip:
        mirrored = torch.from_numpy(rng.random(n) < 0.5)
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    return images


def steps_per_epoch(count: int, schedule: Schedule) -> int:
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
    images: Tensor,
    labels: Tensor,
    schedule: Schedule,
    checkpoint: Path | None = None,
    identity: str = "",
    progress: Progress | None = None,
) -> nn.Module:
    """Trains `net` in place on images float32 (N, C, H, W) and labels int64 (N,), and returns it.

    With `checkpoint` the state is saved whole after every epoch and taken up again by the next call of the same
    `identity` (a digest of data and settings). HwnasError when the loss stops being a number.
    """
    net.to(device()).train()
    optimisers = {
        group: torch.optim.AdamW(list(parameters), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
        for group, parameters in rule.groups(net).items()  # type: ignore[arg-type]
    }
    per_epoch = steps_per_epoch(len(images), schedule)
    total = per_epoch * schedule.epochs
    first = _resume(checkpoint, identity, net, optimisers)
    for epoch in range(first, schedule.epochs):
        for i, (x, y) in enumerate(batches(images, labels, schedule, epoch)):
            step = epoch * per_epoch + i
            loss = _step(
                net,
                rule,
                Batch(x.to(device()), y.to(device()), step),
                optimisers,
                rate(schedule, step, total),
                schedule,
            )
            if progress:
                progress(step + 1, total, f"epoch {epoch + 1}/{schedule.epochs} loss {loss:.3f}")
        if checkpoint and world()[0] == 0:
            state = {"identity": identity, "epoch": epoch + 1, "net": net.state_dict()}
            save_state(checkpoint, state | {"optimisers": {g: o.state_dict() for g, o in optimisers.items()}})
    return net


def _step(
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
        for loss in losses:
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


def predict(net: nn.Module, images: Tensor, batch_size: int = 512) -> Tensor:
    """Logits (N, classes) in evaluation mode, on the CPU."""
    net.eval()
    where = next(net.parameters()).device
    with torch.no_grad():
        return torch.cat([net(part.to(where)).cpu() for part in images.split(batch_size)])


def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit is the label."""
    return float((predict(net, images).argmax(1) == labels).float().mean())
