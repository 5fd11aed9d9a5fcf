"""Training: rules, resuming, and two processes that give the single process's result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas import find
from hwnas.data import Raw, prepare
from hwnas.errors import HwnasError
from hwnas.methods.rule.darts import Darts
from hwnas.plug import resolve
from hwnas.protocols import TrainingRule
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import WeightSharing
from hwnas.testing import contract
from hwnas.train import Schedule, batches, draws, load_state, rate, train

SPACE = resnet_binary(1, 10, (8,), 8, 2, ((8, 16),), (1, 2), (2,), (3,))
IMAGES = torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(96) % 10
# All 96 train; six more make up the splits that training never looks at.
DATA = prepare(
    Raw("noise", torch.cat([IMAGES, IMAGES[:6]]).numpy(), torch.cat([LABELS, LABELS[:6]]).numpy(),
        tuple("0123456789"), np.repeat([0, 1, 2], [96, 3, 3]))
)  # fmt: skip
RULES = [name for name in find.names("methods.rule") if name not in ("plain", "darts", "auto_deeplab")]


class _Steps:
    """Progress that notes every step."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def __call__(self, done: int, total: int, note: str) -> None:
        self.steps.append(done)


def rule_named(name: str) -> TrainingRule:
    return resolve(f"rule.{name}", "methods")(SPACE, seed=0)  # type: ignore[no-any-return]


test_every_rule = contract("rule", *(resolve(f"rule.{name}", "methods") for name in RULES))
# Of the toy space DARTS can mix the kernels alone: the other choices are of widths.
test_darts = contract("rule", Darts, settings={"relax": ["*kernel"]})


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_training_fits_the_largest_path(name: str, bf16: bool) -> None:
    net = WeightSharing(SPACE)

    def loss() -> float:
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(net(IMAGES, SPACE.largest()), LABELS).item()

    before = loss()
    train(net, rule_named(name), DATA, Schedule(epochs=8, batch_size=32, warmup=2, bf16=bf16))
    assert loss() < before


def test_the_sandwich_trains_the_largest_and_the_smallest_of_every_precision_in_turn() -> None:
    rule = resolve("rule.sandwich", "methods")(SPACE, random_paths=1)
    for step, precision in enumerate(("w1a1", "int8", "fp32", "w1a1")):
        paths = rule.paths(step)
        smallest = rule.of_precision(SPACE.smallest(), precision)
        assert smallest in paths and rule.teacher not in paths
        assert precision == "fp32" or rule.of_precision(SPACE.largest(), precision) in paths


def test_a_run_cut_off_after_an_epoch_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    schedule, checkpoint = Schedule(epochs=3, batch_size=32, shift=1, flip=True), tmp_path / "checkpoint.pt"
    whole = train(WeightSharing(SPACE), rule_named("sandwich"), DATA, schedule).state_dict()

    def cut(done: int, total: int, note: str) -> None:
        if done == 5:  # in the second of three epochs
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(WeightSharing(SPACE), rule_named("sandwich"), DATA, schedule, checkpoint, "a", cut)
    steps: list[int] = []
    resumed = train(
        WeightSharing(SPACE),
        rule_named("sandwich"),
        DATA,
        schedule,
        checkpoint,
        "a",
        lambda d, t, n: steps.append(d),
    )
    assert steps[0] == 4, "the first epoch is not trained again"
    assert all(torch.equal(value, whole[name]) for name, value in resumed.state_dict().items())


def test_a_checkpoint_of_something_else_is_not_taken_up(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    for identity in ("a", "b"):
        steps: list[int] = []
        once = Schedule(epochs=1, batch_size=32)
        seen = _Steps(steps)
        train(WeightSharing(SPACE), rule_named("single_path"), DATA, once, checkpoint, identity, seen)
        assert steps[0] == 1


def test_a_truncated_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    train(
        WeightSharing(SPACE),
        rule_named("single_path"),
        DATA,
        Schedule(epochs=1, batch_size=32),
        checkpoint,
        "a",
    )
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(HwnasError, match=r"checkpoint\.pt is truncated or not a checkpoint"):
        load_state(checkpoint)


def test_a_loss_that_is_not_a_number_stops_training_in_one_line() -> None:
    net = WeightSharing(SPACE)
    with torch.no_grad():
        next(net.parameters()).fill_(torch.nan)
    with pytest.raises(HwnasError, match="the training loss became nan at step 0"):
        train(net, rule_named("single_path"), DATA, Schedule(epochs=1, batch_size=32))


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    schedule = Schedule(learning_rate=1.0, warmup=10)
    assert rate(schedule, 0, 110) == pytest.approx(0.1) and rate(schedule, 9, 110) == 1.0
    assert rate(schedule, 60, 110) == pytest.approx(0.5) and rate(schedule, 110, 110) == pytest.approx(0.0)


def test_every_image_is_seen_once_an_epoch_in_an_order_that_the_seed_decides() -> None:
    orders = [
        np.concatenate([draw.indices for draw in draws(96, Schedule(epochs=1, batch_size=32, seed=seed))])
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[0], orders[2])
    assert np.array_equal(np.sort(orders[0]), np.arange(96))


def test_workers_load_the_batches_that_this_process_would() -> None:
    schedule = Schedule(epochs=2, batch_size=32, shift=2, flip=True)
    alone, loaded = (list(batches(DATA, draws(96, schedule), workers)) for workers in (0, 2))
    assert [batch.step for batch in loaded] == [batch.step for batch in alone] == list(range(6))
    for one, other in zip(alone, loaded, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_two_processes_by_torchrun_give_the_single_process_result(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(_JOB)
    command = [sys.executable, str(script), str(tmp_path / "one.pt")]
    subprocess.run(command, check=True, timeout=200)
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
        str(tmp_path / "two.pt"),
    ]
    subprocess.run(launcher, check=True, timeout=200, capture_output=True)
    one, two = (load_state(tmp_path / name) for name in ("one.pt", "two.pt"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        # The same sums in another order: float32 rounding, carried through four Adam steps of size 2e-4.
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


_JOB = """
import sys
import numpy as np
import torch
from hwnas.data import Raw, prepare
from hwnas.methods.rule.sandwich import Sandwich
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import WeightSharing
from hwnas.testing import contract
from hwnas.train import Schedule, join_processes, save_state, train, world
torch.set_num_threads(1)
join_processes()
space = resnet_binary(1, 10, (8,), 8, 2, ((8, 16),), (1, 2), (2,), (3,), ("fp32",))
images = torch.randn(70, 1, 8, 8, generator=torch.Generator().manual_seed(0)).numpy()
parts = np.repeat([0, 1, 2], [64, 3, 3])
data = prepare(Raw("noise", images, np.arange(70) % 10, tuple("0123456789"), parts))
schedule = Schedule(epochs=2, batch_size=32, learning_rate=2e-4, shift=1, flip=True)
net = train(WeightSharing(space), Sandwich(space), data, schedule)
if world()[0] == 0:
    save_state(sys.argv[1], net.state_dict())
"""


def test_portions_are_of_one_size_so_that_no_statistic_is_of_a_single_image() -> None:
    from hwnas.train import portions

    sizes = [len(some) for some in portions(DATA, np.arange(1025))]
    assert sum(sizes) == 1025 and max(sizes) <= 512 and max(sizes) - min(sizes) <= 1
