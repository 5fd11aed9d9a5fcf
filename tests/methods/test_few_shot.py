"""Few-shot NAS: a part for every option, started from one-shot weights; each architecture lives in one part alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.checkpoint import load_state, save_state
from hwnas.errors import HwnasError
from hwnas.methods.wrapper.few_shot import FewShot
from hwnas.pipeline import learning
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from hwnas.protocols import Supernet
from hwnas.space import Mix
from hwnas.spaces.nas_bench_201 import nas_bench_201
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import WeightSharing, extract
from tests.pipeline.runs import SETTINGS, run_file

CELLS = nas_bench_201(1, 4, width=2, cells=1, image_size=(8, 8))
CHAIN = resnet_binary(1, 4, (8,), 8, 2, ((8, 16),), (1, 2), (2,), (3, 5))
IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("space", "choice"), [(CELLS, "edge.0-3"), (CHAIN, "s0.width"), (CHAIN, "s0.b0.kernel")])
def test_every_part_starts_as_the_one_shot_supernet_does(space: Any, choice: str) -> None:
    whole = WeightSharing(space, 3)
    split = FewShot(space, 0, choice)(whole)
    assert isinstance(split, Supernet)
    rng = np.random.default_rng(0)
    for option in space.by_name[choice].options:
        for _ in range(3):
            path = {**space.random(rng), choice: option}
            torch.testing.assert_close(split(IMAGES, path), whole(IMAGES, path), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(extract(split, path).train()(IMAGES), split(IMAGES, path), rtol=1e-4, atol=1e-4)  # type: ignore[arg-type]


def test_a_step_of_one_option_moves_no_other_part() -> None:
    split: Any = FewShot(CELLS, 0, "edge.0-1")(WeightSharing(CELLS))
    path = {**CELLS.largest(), "edge.0-1": "nor_conv_3x3"}
    split(IMAGES, path).sum().backward()
    touched = [i for i, part in enumerate(split.parts) if any(p.grad is not None for p in part.parameters())]
    assert touched == [CELLS.by_name["edge.0-1"].options.index("nor_conv_3x3")]


def test_what_is_split_cannot_be_mixed_and_a_wrong_choice_names_the_nearest() -> None:
    split: Any = FewShot(CELLS, 0, "edge.0-1")(WeightSharing(CELLS))
    soft = {**CELLS.largest(), "edge.0-1": Mix(("none", "skip_connect"), (0.5, 0.5))}
    with pytest.raises(HwnasError, match=r"edge.0-1 is split, and cannot be mixed"):
        split(IMAGES, soft)
    with pytest.raises(HwnasError, match=r"nearest: edge.0-1"):
        FewShot(CELLS, 0, "edge.0-11")
    assert FewShot(CELLS).choice == "edge.0-1"


def test_a_run_starts_from_the_weights_of_another_and_is_another_when_they_change(tmp_path: Path) -> None:
    job = Job(read_run_file(run_file(tmp_path / "one")), progress=False)
    learning.train_supernet(job)
    start = job.path("supernet.pt")
    wrapper = {"use": "wrapper.few_shot", "choice": "s0.depth", "start": str(start)}
    few = run_file(tmp_path / "few", train={**SETTINGS["train"], "epochs": 1, "wrapper": wrapper})
    second = Job(read_run_file(few), progress=False)
    before = learning.identity(second)
    trained = learning.train_supernet(second)
    assert len(trained.parts) == 2 and trained.space.size == job.space.size
    held = load_state(start)
    held["net"] = {name: value * 1.5 for name, value in held["net"].items()}
    save_state(start, held)
    assert learning.identity(Job(read_run_file(few), progress=False)) != before
    start.unlink()
    with pytest.raises(HwnasError, match="does not exist"):
        learning.identity(Job(read_run_file(few), progress=False))
