"""Keyword spotting: log-mel bands by their formula, shapes that are not square, files that take samples, the data."""

from __future__ import annotations

import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from hwnas import ops
from hwnas.cost import Costing, OperatorCost
from hwnas.data import load_data
from hwnas.errors import HwnasError
from hwnas.export.onnx import block_model, to_onnx
from hwnas.network import Operator
from hwnas.spaces.keywords import front_end, keywords
from hwnas.testing import contract
from tests.exact import exact_session
from tests.sound import RATE, SPACE, agree, architecture, net_of, tones

EXAMPLES = Path(__file__).parents[1] / "examples"
COST = OperatorCost("macs", "MAC", lambda operator: 1.0 + ops.macs(operator))

test_the_space = contract("space", SPACE)


def given_by(operator: Operator, clips: np.ndarray) -> np.ndarray:
    """What training computes, (N, frames, bands)."""
    with torch.no_grad():
        return ops.forward(operator, [torch.from_numpy(clips)], {}, training=True).numpy()[:, 0]


def by_formula(clip: np.ndarray, frame: int, hop: int, bands: int) -> np.ndarray:
    """One clip (T,) frame by frame with NumPy's FFT, and each band's triangle drawn by interpolation."""

    def mel(hertz: float) -> float:
        return 2595 * float(np.log10(1 + hertz / 700))

    corners = [700 * (10 ** (i * mel(RATE / 2) / (bands + 1) / 2595) - 1) for i in range(bands + 2)]
    window = np.array([np.sin(np.pi * n / frame) ** 2 for n in range(frame)])
    frequency = np.fft.rfftfreq(frame, 1 / RATE)
    rows = []
    for start in range(0, len(clip) - frame + 1, hop):
        power = np.abs(np.fft.rfft(clip[start : start + frame].astype(np.float64) * window)) ** 2
        heights = [np.interp(frequency, corners[b : b + 3], [0, 1, 0]) for b in range(bands)]
        rows.append([np.log(height @ power + 1e-6) for height in heights])
    return np.array(rows)


@pytest.mark.parametrize(
    ("samples", "frame_ms", "hop_ms", "frames"),
    [(8000, 40, 20, 49), (8000, 32, 10, 97), (16000, 40, 20, 99), (320, 40, 20, 1), (479, 40, 20, 1), (480, 40, 20, 2)],
)
def test_frames_are_those_that_lie_within_the_clip(samples: int, frame_ms: int, hop_ms: int, frames: int) -> None:
    assert front_end(samples, RATE, frame_ms, hop_ms, 20).output_shape == (1, frames, 20)


def test_bands_are_what_their_formula_gives_frame_by_frame() -> None:
    clips = tones(5, 8000)
    found = given_by(front_end(8000, RATE, 40, 20, 40), clips)
    np.testing.assert_allclose(found, [by_formula(clip[0], 320, 160, 40) for clip in clips], rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("hertz", [200, 440, 1000, 2000, 3500])
def test_a_pure_tone_is_loudest_in_the_band_whose_middle_is_nearest(hertz: float) -> None:
    clip = 0.5 * np.sin(2 * np.pi * hertz * np.arange(8000) / RATE).astype(np.float32)
    found = given_by(front_end(8000, RATE, 40, 20, 20), clip[None, None])[0]
    middles = 700 * (10 ** (np.arange(1, 21) * 2595 * np.log10(1 + 4000 / 700) / 21 / 2595) - 1)
    assert set(found.argmax(axis=1)) == {int(np.abs(np.log(700 + middles) - np.log(700 + hertz)).argmin())}


def test_the_exported_bands_are_those_of_training() -> None:
    operator, clips = front_end(1200, RATE, 16, 8, 12), tones(1)
    model = block_model(operator)
    (found,) = exact_session(model).run(None, {model.graph.input[0].name: clips})
    np.testing.assert_allclose(found[:, 0], given_by(operator, clips), rtol=1e-5, atol=1e-4)


def test_shapes_keep_time_and_bands_apart() -> None:
    network = SPACE.lower(SPACE.largest())
    shapes = {node.name: node.operator.output_shape[1:] for node in network}
    assert network.input_shape == (1, 1200) and network.output_shape == (4,)
    assert shapes["log_mel"] == (17, 12) and shapes["stem"] == (9, 6) == shapes["s0.b1"] and shapes["s1.b0"] == (5, 3)
    assert {node.operator.precision for node in SPACE.lower(architecture("int8"))} == {"fp32", "int8"}
    published = keywords(10, 8000, RATE)
    assert published.lower(published.largest()).nodes[0].operator.output_shape == (1, 49, 40)


def test_the_front_end_is_paid_for_in_every_architecture() -> None:
    costing, rng = Costing(SPACE, COST), np.random.default_rng(0)
    some = [SPACE.random(rng) for _ in range(50)]
    np.testing.assert_allclose(costing(some), [COST(SPACE.lower(one)) for one in some])
    # 17 frames of 128 samples with 65 cosines and 65 sines, then 12 bands of their squares
    assert ops.macs(SPACE.lower(some[0]).nodes[0].operator) == 17 * (130 * 128 + 12 * 130)


def test_a_float_net_cut_out_of_the_supernet_is_a_file_that_takes_samples() -> None:
    (quantised, alone), clips = net_of("fp32"), tones(6, seed=1)
    (found,) = exact_session(to_onnx(quantised, batch=None)).run(None, {"input": clips})
    with torch.no_grad():
        np.testing.assert_allclose(found, alone(torch.from_numpy(clips)).numpy(), rtol=1e-3, atol=1e-3)


def test_an_int8_net_is_a_file_that_takes_samples() -> None:
    (quantised, _), clips = net_of("int8"), tones(16, seed=1)
    model = to_onnx(quantised, batch=None)
    onnx.checker.check_model(model, full_check=True)
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:] == [1, 1200]
    agree(exact_session(model).run(None, {"input": clips})[0], quantised(clips))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"frame_ms": 200}, r"frame_ms 200 is 1600 samples at 8000 Hz, clips have 1200"),
        ({"frame_ms": 0}, "frame_ms must be a number of milliseconds above 0, got 0"),
        ({"hop_ms": "10"}, "hop_ms must be a number of milliseconds above 0, got '10'"),
        ({"frame_ms": 8, "bands": 40}, "of 40 bands hold no frequency of frames of 64 samples"),
        ({"bands": 0}, "bands must be a whole number of at least 1, got 0"),
        ({"kernels": [2]}, "kernels must be odd"),
        ({"precisions": ["w1a1"]}, "keywords has no w1a1 blocks"),
    ],
)
def test_what_makes_no_space_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        keywords(4, 1200, RATE, **settings)


@pytest.mark.parametrize(
    ("shapes", "settings", "told"),
    [
        (((1, 400), (1, 10, 8)), {}, r"must give \(1, 11, bands\)"),
        (((2, 400), (1, 11, 8)), {}, r"takes \(samples,\) or \(1, samples\)"),
        (((1, 63), (1, 1, 8)), {}, "64 at least"),
        (((1, 400), (1, 11, 8)), {"hop": 0}, "whole numbers above 0"),
        (((1, 400), (1, 11, 8)), {"precision": "int8"}, "log_mel gives fp32, not int8"),
    ],
)
def test_a_front_end_that_cannot_be_is_refused(shapes: Any, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        _ = Operator.of("log_mel", *shapes, **{"frame": 64, "hop": 32, "rate": RATE, **settings}).layers


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Path], Path]:
    """Runs the example's script on a data set."""

    def run(source: Path) -> Path:
        target = tmp_path / "written" / "keywords.npz"
        target.parent.mkdir()
        subprocess.run([sys.executable, EXAMPLES / "keywords.py", source, target], check=True, capture_output=True)
        return target

    return run


def test_no_recording_is_in_two_splits_and_the_test_set_is_the_official_one(
    shared_data: Path, write: Callable[[Path], Path]
) -> None:
    source = shared_data / "spoken_digits" / "fsdd_8khz_1s.npz"
    data: Any = load_data({"use": "audio", "path": str(write(source)), "rate": RATE})
    with np.load(source) as held:
        named = zip(held["y"], held["speaker"], held["idx"], strict=True)
        who = [f"{digit} {speaker} {number}" for digit, speaker, number in named]
        expected = {name for name, number in zip(who, held["idx"], strict=True) if number < 5}
    members = {split: {who[i] for i in data.places[split]} for split in data.sizes()}
    assert data.sizes() == {"train": 2400, "validation": 300, "test": 300} and members["test"] == expected
    assert sum(map(len, members.values())) == 3000 == len(set.union(*members.values()))


def test_recordings_are_read_from_the_data_sets_own_folder(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for digit in (0, 1):
        for number in (0, 5, 10):
            with wave.open(str(folder / f"{digit}_jo_{number}.wav"), "wb") as file:
                file.setparams((1, 2, RATE, 0, "NONE", ""))
                file.writeframes(np.full(5000 + 5000 * digit, 100 * digit + number + 1, "<i2").tobytes())
    with np.load(write(folder)) as held:
        samples, labels, part = held["samples"], held["labels"], held["part"]
    assert samples.shape == (6, RATE) and labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert samples[:, 0].tolist() == [1, 11, 6, 101, 111, 106] and part.tolist() == [2, 0, 1, 2, 0, 1]
    assert not samples[:3, 5000:].any() and samples[3:, -1].all(), "followed by silence, or cut"
