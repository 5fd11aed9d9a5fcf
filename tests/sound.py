"""A small space of keyword spotting, its clips, and nets of it as they ship."""

from __future__ import annotations

import numpy as np
import torch

from hwnas.export.quantise import QuantisedNet, calibrate, fold
from hwnas.space import Architecture
from hwnas.spaces.keywords import keywords
from hwnas.supernet import WeightSharing, extract, recalibrate

RATE = 8000
SPACE = keywords(
    4, 1200, RATE, frame_ms=16, hop_ms=8, bands=12, stem_width=8, widths=[[8, 12], [12, 16]], depths=[1, 2],
    strides=[1, 2],
)  # fmt: skip


def tones(count: int, samples: int = 1200, seed: int = 0) -> np.ndarray:
    """A tone of a frequency of its own in every clip, and noise: float32 (count, 1, samples)."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(100, 3900, (count, 1))
    wave_form = 0.3 * np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)
    return (wave_form + 0.02 * rng.standard_normal((count, samples))).astype(np.float32)[:, None]


def architecture(precision: str) -> Architecture:
    chosen = {choice.name: choice.options[-1] for choice in SPACE.choices}
    return SPACE.architecture({**chosen, **{c.name: precision for c in SPACE.choices if c.role == "precision"}})


def net_of(precision: str, seed: int = 0) -> tuple[QuantisedNet, torch.nn.Module]:
    """The exported and the trained form of one architecture, cut out of a supernet."""
    clips = torch.from_numpy(tones(32))
    alone = recalibrate(extract(WeightSharing(SPACE, seed), architecture(precision)), [clips])
    return calibrate(fold(alone.network, alone.arrays()), clips.numpy(), weight_bits=7), alone


def agree(found: np.ndarray, expected: np.ndarray) -> None:
    """Integers after the bands are equal, and so are the scores of three clips of four at least. A band is a float sum
    and a logarithm: where it lies at the edge of two codes another order of adding may take the other, and a clip's
    scores move by a few of their own steps."""
    assert found.shape == expected.shape and np.abs(expected).max() > 0
    assert (found == expected).all(axis=1).mean() >= 0.75
    np.testing.assert_allclose(found, expected, atol=0.03 * float(np.abs(expected).max()), rtol=0)
