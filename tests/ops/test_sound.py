"""log_mel by hand: a pure tone's power, and where it falls among the bands."""

from __future__ import annotations

import numpy as np

from hwnas.network import Layer
from hwnas.ops.log_mel import mel_bands, primitive, waves


def test_a_tone_has_the_power_of_its_window_at_its_frequency() -> None:
    """cos(2 pi 8 n / 64) under Hann's window, whose mean is 1/2: (64 / 2 * 1/2)^2 = 256 at 8, a quarter beside it."""
    tone = np.cos(2 * np.pi * 8 * np.arange(64) / 64)
    parts = waves(64) @ tone
    power = parts[:33] ** 2 + parts[33:] ** 2
    np.testing.assert_allclose(power[6:11], [0, 64, 256, 64, 0], atol=1e-3)


def test_bands_rise_and_fall_over_their_neighbours() -> None:
    """Neighbouring triangles cross where they sum to 1, and no frequency between the outermost middles is lost."""
    bands = mel_bands(8, 512, 16000)
    middles = bands.argmax(axis=1)
    assert list(middles) == sorted(set(middles))
    np.testing.assert_allclose(bands[:, middles[0] + 1 : middles[-1]].sum(axis=0), 1, atol=1e-6)


def test_silence_is_the_logarithm_of_the_floor() -> None:
    attributes = (("frame", 64), ("hop", 32), ("rate", 8000))
    layer = Layer("sound", "log_mel", ("input",), (128,), (1, 3, 4), attributes=attributes)
    found = primitive.reference(layer, [np.zeros((2, 128), np.float32)], {})
    assert found.shape == (2, 1, 3, 4)
    np.testing.assert_allclose(found, np.log(1e-6), rtol=1e-6)
