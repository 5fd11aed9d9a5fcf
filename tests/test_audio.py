"""Sound as data: clips of one length, whose facts and batches know nothing of height and width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.batches import some_images
from hwnas.data import load_data
from hwnas.data.sources.audio import Clips
from hwnas.errors import HwnasError
from hwnas.methods.rule.plain import Plain
from hwnas.network import Port
from hwnas.pipeline.facts import check_facts, given_facts
from hwnas.tasks.classify import Classify
from hwnas.train import Schedule, evaluate, train

RNG = np.random.default_rng(0)
SAMPLES = RNG.integers(-(2**15), 2**15, (40, 64)).astype(np.int16)
LABELS = np.array(["no", "yes"])[np.arange(40) % 2]


def written(folder: Path, **arrays: np.ndarray) -> dict[str, Any]:
    """An archive of the clips, as a run file names it."""
    np.savez(folder / "clips.npz", **{"samples": SAMPLES, "labels": LABELS, **arrays})
    return {"use": "audio", "path": str(folder / "clips.npz")}


def loaded(folder: Path, **arrays: np.ndarray) -> Clips:
    data = load_data(written(folder, **arrays))
    assert isinstance(data, Clips)
    return data


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("clips")
    return lambda: loaded(folder)


def test_every_law_of_data_holds(source: Any) -> None:
    from hwnas.testing import check

    check("data", source)


def test_whole_numbers_become_shares_of_full_scale_and_real_ones_stay(tmp_path: Path) -> None:
    data = loaded(tmp_path)
    assert data.inputs == {"x": Port((1, 64))} and data.classes == ("no", "yes") and data.samples.dtype == np.int16
    x = torch.cat([data.batch(split, slice(None)).images for split in data.sizes()])
    assert x.dtype == torch.float32 and x.shape == (40, 1, 64) and float(x.min()) >= -1 and float(x.max()) < 1
    np.testing.assert_array_equal(np.sort(x.numpy().ravel() * 32768), np.sort(SAMPLES.ravel()))
    (tmp_path / "real").mkdir()
    real = loaded(tmp_path / "real", samples=SAMPLES / 1000.0)
    np.testing.assert_allclose(float(real.batch("train", slice(None)).images.max()), 32.7, atol=0.1)


def test_the_split_is_of_the_file_or_of_every_class_alike(tmp_path: Path) -> None:
    data = loaded(tmp_path)
    assert data.sizes() == {"train": 24, "validation": 8, "test": 8}
    assert all(np.bincount(data.targets(split)).tolist() == [n // 2] * 2 for split, n in data.sizes().items())
    settings = written(tmp_path)
    other = load_data({**settings, "split_seed": 1, "shares": [0.5, 0.25, 0.25]})
    assert other.sizes()["train"] == 20 and other.digest != data.digest
    (tmp_path / "given").mkdir()
    part = np.repeat([0, 1, 2], [30, 4, 6])
    assert loaded(tmp_path / "given", part=part).sizes() == {"train": 30, "validation": 4, "test": 6}


@pytest.mark.parametrize(
    ("arrays", "settings", "words"),
    [
        ({"samples": SAMPLES[None]}, {}, "samples must be (N, T) with N labels"),
        ({"samples": SAMPLES.astype(np.int32)}, {}, "samples must be int16 or int8 or real numbers, got int32"),
        ({"samples": np.where(SAMPLES[3, 5] == SAMPLES, np.nan, 0.0)}, {}, "clips have NaN or infinite samples"),
        ({"labels": np.zeros(40, int)}, {}, "one class only (40 clips)"),
        ({"part": np.full(40, 3)}, {}, "'part' must hold 0, 1 or 2 for every clip"),
        ({"part": np.repeat([0, 1], 20)}, {}, "the test split is empty"),
        ({}, {"rate": "8k"}, "rate must be a whole number of Hz, got '8k'"),
        ({}, {"samples": "x"}, "nearest: "),
        ({}, {"rat": 8000}, "unknown key 'rat'; nearest: rate"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arrays: dict[str, np.ndarray], settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(HwnasError) as refused:
        load_data({**written(tmp_path, **arrays), **settings})
    assert words in str(refused.value) or words == "nearest: "


class Waves(torch.nn.Sequential):
    """A small net over a wave: filters of 4 ms and more, their energies, a decision."""

    def __init__(self, classes: int) -> None:
        torch.manual_seed(0)
        super().__init__(
            torch.nn.Conv1d(1, 16, 64, stride=32), torch.nn.BatchNorm1d(16), torch.nn.ReLU(),
            torch.nn.Conv1d(16, 32, 5, stride=2), torch.nn.BatchNorm1d(32), torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool1d(4), torch.nn.Flatten(), torch.nn.Linear(128, classes),
        )  # fmt: skip


def test_spoken_digits_are_trained_on_as_samples(shared_data: Path, tmp_path: Path) -> None:
    """The official split: recordings 0 to 4 of every speaker and digit are the test set."""
    with np.load(shared_data / "spoken_digits" / "fsdd_8khz_1s.npz") as held:
        part = np.where(held["idx"] < 5, 2, np.where(held["idx"] < 10, 1, 0))
        np.savez(tmp_path / "digits.npz", samples=held["x"], labels=held["y"], part=part)
    data = load_data({"use": "audio", "path": str(tmp_path / "digits.npz"), "rate": 8000})
    assert data.sizes() == {"train": 2400, "validation": 300, "test": 300}
    assert data.facts == {"in_channels": 1, "classes": 10, "samples": 8000, "rate": 8000}
    net = Waves(10)
    train(net, Plain(Classify()), data, Schedule(epochs=2, batch_size=64, learning_rate=5e-3))
    assert evaluate(net, data, "test").accuracy > 0.25, "chance is 0.1"
    assert sum(len(x) for x in some_images(data, 20, 0)) == 20


def test_facts_of_any_name_are_arguments_of_the_space() -> None:
    asked = {"samples", "rate", "width"}
    facts = {"classes": 10, "samples": 8000, "rate": 8000}
    assert given_facts({"facts": facts}, {}, asked) == facts
    assert given_facts({"facts": {"samples": [1, 8000]}}, {}, asked) == {"samples": (1, 8000)}
    with pytest.raises(HwnasError, match=r"data\.facts: unknown key 'sample'; nearest: samples"):
        given_facts({"facts": {"sample": 8000}}, {}, asked)
    with pytest.raises(HwnasError, match="rate must be a number, a word or a list of them"):
        given_facts({"facts": {"rate": {"hz": 1}}}, {}, asked)
    with pytest.raises(HwnasError, match="the run file says samples 8000, the data set has 16000"):
        check_facts({"samples": 8000}, {"samples": 16000})
