"""The comparison of keyword spotting: rivals cost what the searched net costs, and a kept figure is not made again."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.data import load_data
from hwnas.spaces.keywords import keywords
from hwnas.supernet import Net
from tests.sound import RATE, tones

FACTS = {"in_channels": 1, "classes": 10, "samples": 8000, "rate": RATE}


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module("keywords")


@pytest.mark.parametrize("seed", range(3))
def test_rivals_cost_what_the_searched_net_costs(benchmark: Any, seed: int) -> None:
    space = benchmark.space_of(benchmark.SETTINGS, FACTS)
    found = space.random(np.random.default_rng(seed))
    nets = benchmark.rivals(benchmark.SETTINGS, found, seed, FACTS)
    wanted = benchmark.COST(nets["searched"])
    assert len(set(nets.values())) == 7
    assert {name: benchmark.COST(net) for name, net in nets.items()} == pytest.approx(
        dict.fromkeys(nets, wanted), rel=0.15
    )


def test_ds_cnn_is_of_one_width_behind_a_strided_stem_at_as_many_places_as_the_paper_s(benchmark: Any) -> None:
    space = benchmark.space_of(benchmark.SETTINGS, FACTS)
    net = benchmark.rivals(benchmark.SETTINGS, space.largest(), 0, FACTS)[benchmark.DS_CNN]
    shapes = [node.operator.output_shape for node in net if len(node.operator.output_shape) == 3]
    assert {shape[1:] for shape in shapes[:5]} == {(25, 5)} and len({shape[0] for shape in shapes[:5]}) == 1


def test_bands_are_what_the_front_end_of_a_net_gives(benchmark: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "clips.npz", samples=tones(40, 8000)[:, 0], labels=np.arange(40) % 10)
    clips = load_data({"use": "audio", "path": str(tmp_path / "clips.npz"), "rate": RATE})
    bands = benchmark.Bands(clips, 40)
    whole = keywords(10, 8000, RATE, stem_width=4, widths=[[8]], depths=[[1]], strides=[2])
    one, behind = whole.largest(), benchmark.behind(whole)
    alone, samples = Net(behind.lower(one)), Net(whole.lower(one))
    samples.load_state_dict(alone.state_dict())
    some = np.array([3, 0, 5])
    torch.testing.assert_close(
        alone.eval()(bands.batch("train", some).images), samples.eval()(clips.batch("train", some).images)
    )
    assert bands.digest != benchmark.Bands(clips, 10).digest


def figures(searched: list[float], random: list[float]) -> dict[str, Any]:
    def one(accuracy: float) -> dict[str, float]:
        return {"accuracy": accuracy, "macs": 2e5}

    names = ("DS-CNN, ten bands", "one width, same strides", "linear on log-mel", "random B", "random C", "random D")
    seeds = enumerate(zip(searched, random, strict=True))
    return {"mark": "", "seconds": 60.0} | {
        str(i): {"searched": one(a), "random A": one(b), **{name: one(b) for name in names}} for i, (a, b) in seeds
    }


@pytest.mark.parametrize(
    ("searched", "random", "told"),
    [
        ([90.0], [80.0], "one seed says nothing"),
        ([90.0, 91.0, 92.0], [80.0, 81.0, 82.5], " points (told apart)"),
        ([90.0, 80.0, 70.0], [80.0, 81.0, 82.0], "not told apart"),
    ],
)
def test_a_gain_is_called_one_only_beyond_its_interval(
    benchmark: Any, searched: list[float], random: list[float], told: str
) -> None:
    written = benchmark.page(benchmark.SETTINGS, figures(searched, random))
    assert told in written and written.count("| 0.20 |") == 5


@pytest.mark.long
def test_a_stopped_comparison_goes_on(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "KEPT", tmp_path / "kept")
    np.savez(tmp_path / "clips.npz", samples=tones(120, 8000)[:, 0], labels=np.arange(120) % 10)
    data = load_data({"use": "audio", "path": str(tmp_path / "clips.npz"), "rate": RATE})
    small = replace(benchmark.SETTINGS, search_epochs=1, epochs=1, budget=4)
    first = benchmark.measure(small, 1, data)
    fixed = {benchmark.DS_CNN, benchmark.HOMOGENEOUS, benchmark.LINEAR}
    assert set(first["0"]) == {"found", "searched", *benchmark.RANDOMS, *fixed}
    monkeypatch.setattr(benchmark, "train", None)  # whatever trains again fails
    assert benchmark.measure(small, 1, data)["0"] == first["0"]
