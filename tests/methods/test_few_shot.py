"""Few-shot NAS: a part for every option, started from one-shot weights; each architecture lives in one part alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from hwnas.checkpoint import load_state, save_state
from hwnas.cli.main import main
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


def one_shot(folder: Path, **changes: Any) -> Path:
    """The supernet.pt of a tiny run of its own."""
    job = Job(read_run_file(run_file(folder, **changes)), progress=False)
    learning.train_supernet(job)
    return job.path("supernet.pt")


def few(folder: Path, start: Path, **train: Any) -> Job:
    """A run that starts from the file; the same call is the same run again."""
    wrapper = {"use": "wrapper.few_shot", "choice": "s0.depth", "start": str(start)}
    return Job(
        read_run_file(run_file(folder, train={**SETTINGS["train"], "epochs": 1, "wrapper": wrapper, **train})),
        progress=False,
    )


def test_a_run_starts_from_the_weights_of_another_and_is_another_when_they_change(tmp_path: Path) -> None:
    start = one_shot(tmp_path / "one")
    second = few(tmp_path / "few", start)
    before = learning.identity(second)
    trained = learning.train_supernet(second)
    assert len(trained.parts) == 2 and trained.space.size == second.space.size
    held = load_state(start)
    held["net"] = {name: value * 1.5 for name, value in held["net"].items()}
    save_state(start, held)
    assert learning.identity(few(tmp_path / "few", start)) != before


def test_the_first_step_is_from_the_weights_of_the_file(tmp_path: Path) -> None:
    start = one_shot(tmp_path / "one")
    learning.train_supernet(job := few(tmp_path / "few", start, learning_rate=1e-12))
    whole = load_state(start)["net"]
    options = list(job.space.by_name["s0.depth"].options)
    for name, value in load_state(job.path("supernet.pt"))["net"].items():
        index, _, rest = name.removeprefix("parts.").partition(".")
        if rest in whole and whole[rest].shape == value.shape:
            torch.testing.assert_close(value, whole[rest], rtol=1e-4, atol=1e-4, msg=f"{options[int(index)]}: {name}")


@pytest.mark.slow
def test_the_pair_of_examples_trains_and_ships_an_architecture_of_its_own_part(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they stand in examples/, but for a device that measures nothing and fewer epochs."""
    monkeypatch.chdir(tmp_path)
    for name in ("one_shot", "few_shot"):
        settings = yaml.safe_load((repository / "examples" / f"{name}.yaml").read_text())
        settings |= {"device": "null", "card": {"fit": 8, "test": 8}}
        settings["train"] |= {"epochs": 2, "finetune_epochs": 0}
        settings["search"] |= {"budget": 6}
        Path(f"{name}.yaml").write_text(yaml.safe_dump(settings))
    assert main(["run", "few_shot.yaml"]) == 2, "the one-shot supernet is not there yet"
    assert main(["train", "one_shot.yaml"]) == 0
    assert main(["run", "few_shot.yaml"]) in (0, 1), "1: a made-up device's limit may be missed"
    parts = load_state(Path("runs/few_shot/supernet.pt"))["net"]
    assert {name.split(".")[1] for name in parts} == set("01234")
    assert list(Path("runs/few_shot/export").rglob("model.int8.onnx"))


def test_what_is_trained_needs_the_file_it_started_from_no_more(tmp_path: Path) -> None:
    start = one_shot(tmp_path / "one")
    _stopped_after_one_epoch(tmp_path / "stopped", start)
    weights = learning.train_supernet(few(tmp_path / "few", start, epochs=2)).state_dict()
    start.unlink()
    for folder in ("few", "stopped"):
        job = few(tmp_path / folder, start, epochs=2)
        again = learning.train_supernet(job).state_dict()
        assert all(torch.equal(value, again[name]) for name, value in weights.items()), folder
        assert job.notes == [], "nothing was trained anew"
    with pytest.raises(HwnasError, match=r"start .*supernet.pt does not exist"):
        learning.train_supernet(few(tmp_path / "third", start))


def _stopped_after_one_epoch(folder: Path, start: Path) -> None:
    """Leaves the run as one that was killed in its second epoch."""
    job, seen = few(folder, start, epochs=2), []

    class Killed(Exception):
        pass

    whole = learning.train

    def train(net: Any, rule: Any, data: Any, schedule: Any, checkpoint: Path, mark: str, *more: Any) -> Any:
        def stop(done: int, total: int, note: str) -> None:
            seen.append(done)
            if done > total // 2:
                raise Killed

        return whole(net, rule, data, schedule, checkpoint, mark, stop, 0)

    learning.train = train
    try:
        with pytest.raises(Killed):
            learning.train_supernet(job)
    finally:
        learning.train = whole
    assert load_state(job.path("checkpoint.pt"))["epoch"] == 1 and not job.path("supernet.pt").exists()


def test_a_start_of_another_space_is_refused_though_its_tensors_have_the_same_names_and_shapes(tmp_path: Path) -> None:
    """A stride has no tensor."""
    start = one_shot(tmp_path / "one")
    other = one_shot(tmp_path / "other", space={**SETTINGS["space"], "strides": [1]})
    shapes = [{name: value.shape for name, value in load_state(file)["net"].items()} for file in (start, other)]
    assert shapes[0] == shapes[1]
    learning.started(few(tmp_path / "few", start))
    with pytest.raises(HwnasError, match=r"start .* was trained in another space than this run's") as refused:
        learning.started(few(tmp_path / "few", other))
    assert "\n" not in refused.value.message


def test_a_start_of_a_version_that_did_not_say_is_taken_by_its_tensors(tmp_path: Path) -> None:
    start = one_shot(tmp_path / "one")
    save_state(tmp_path / "old.pt", {"net": load_state(start)["net"]})
    learning.train_supernet(few(tmp_path / "few", tmp_path / "old.pt"))
    save_state(tmp_path / "foreign.pt", {"net": {"weight": torch.zeros(3)}})
    with pytest.raises(HwnasError, match="does not hold this net"):
        learning.train_supernet(few(tmp_path / "few", tmp_path / "foreign.pt"))


def test_a_run_of_other_data_does_not_start_from_a_supernet_of_the_same_shapes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", images=rng.standard_normal((60, 1, 8, 8)), labels=np.arange(60) % 3)
    start = one_shot(tmp_path / "one", data={"use": "npz", "path": str(tmp_path / "a.npz")})
    wrapper = {"use": "wrapper.few_shot", "choice": "s0.depth", "start": str(start)}
    for data, refused in (("a", False), ("b", True)):
        settings = {"data": {"use": "npz", "path": str(tmp_path / f"{data}.npz")}}
        file = run_file(tmp_path / data, train={**SETTINGS["train"], "wrapper": wrapper}, **settings)
        job = Job(read_run_file(file), progress=False)
        if refused:
            with pytest.raises(HwnasError, match="trained on other data"):
                learning.train_supernet(job)
        else:
            learning.train_supernet(job)
