"""Images with a class a pixel: digits pasted on photographs, what the splits share (nothing), and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hwnas
from hwnas.data import load_data
from hwnas.data.segmented import Segmented
from hwnas.data.sources import pasted_digits
from hwnas.errors import HwnasError
from hwnas.pipeline import raw_images
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from hwnas.testing import contract
from tests.pipeline.runs import run_file

FEW = {"use": "pasted_digits", "train": 24, "validation": 10, "test": 12}
DATA: Any = load_data(FEW)
ALL = tuple(range(10))
RECIPE = pasted_digits._Recipe(48, (3, 5), (14, 24), ALL)

test_the_source = contract("data", lambda: load_data(FEW))


def test_it_is_as_large_as_asked_and_says_that_it_was_made() -> None:
    assert DATA.sizes() == {"train": 24, "validation": 10, "test": 12}
    assert DATA.facts == {"in_channels": 3, "classes": 11, "image_size": (48, 48)}
    assert "made of real pixels" in DATA.notes[0]
    assert DATA.classes[:2] == ("background", "0") and len(DATA.classes) == 11


def test_a_batch_is_normalised_images_and_maps_as_large() -> None:
    batch = DATA.batch("train", np.arange(24))
    assert batch.images.shape == (24, 3, 48, 48) and batch.targets.shape == (24, 48, 48)
    assert batch.targets.dtype == torch.int64 and int(batch.targets.min()) >= 0 and int(batch.targets.max()) <= 10
    np.testing.assert_allclose(batch.images.mean((0, 2, 3)).numpy(), 0, atol=1e-4)
    np.testing.assert_allclose(batch.images.std((0, 2, 3), correction=0).numpy(), 1, atol=1e-3)
    np.testing.assert_array_equal(batch.targets.numpy(), DATA.targets("train"))


def test_every_image_holds_digits_and_mostly_background() -> None:
    for split in DATA.sizes():
        for one in DATA.targets(split):
            assert 1 <= len(np.unique(one)) - 1 <= 5
        assert 0.5 < (DATA.targets(split) == 0).mean() < 0.95


def test_without_ink_an_image_is_a_crop_of_a_photograph() -> None:
    strips, blank = pasted_digits._strips()["test"], np.zeros((1, 8, 8), np.float32)
    for seed in range(3):
        image, classes = pasted_digits._image(np.random.default_rng(seed), RECIPE, strips, blank, np.array([0]))
        assert not classes.any()
        rows = [np.lib.stride_tricks.sliding_window_view(strip, (1, 48, 3)) for strip in strips]
        assert any((row == image[:1]).all((3, 4, 5)).any() for row in rows)


def test_no_digit_and_no_pixel_is_in_two_splits() -> None:
    digits, strips = pasted_digits._digits(0, ALL), pasted_digits._strips()
    assert sum(len(kinds) for _, kinds in digits.values()) == 1797
    seen = [{ink.tobytes() for ink in one} for one, _ in digits.values()]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    for i in range(2):
        widths = [strips[split][i].shape[1] for split in ("train", "validation", "test")]
        assert sum(widths) == 640 and min(widths) >= 48
        whole = np.concatenate([strips[split][i] for split in ("train", "validation", "test")], axis=1)
        from sklearn.datasets import load_sample_images

        np.testing.assert_array_equal(whole, load_sample_images().images[i])


def test_a_pixel_is_a_digit_s_where_its_ink_is_above_a_quarter_and_the_later_digit_hides_the_earlier() -> None:
    rng, ground = np.random.default_rng(3), np.full((60, 60, 3), 100, np.uint8)
    ink = np.zeros((1, 8, 8), np.float32)
    ink[0, :, 4:] = 1.0
    image, classes = pasted_digits._image(rng, RECIPE, [ground], ink, np.array([8]))
    inked = image[:, :, 0] != 100
    assert set(np.unique(classes)) == {0, 8}
    assert inked[classes == 8].all(), "a class is only where ink is"
    faint = image[(classes == 0) & inked]
    assert len(faint) and faint.max() <= 100 + 0.25 * (255 - 100) + 90, "what is background has little ink"


def test_fewer_larger_digits_of_some_kinds_are_classes_in_the_order_given() -> None:
    easy: Any = load_data({**FEW, "digits": [1, 1], "sides": [40, 48], "kinds": [7, 1]})
    assert easy.classes == ("background", "7", "1") and easy.facts["classes"] == 3
    for split in easy.sizes():
        maps = easy.targets(split)
        assert {tuple(np.unique(one)) for one in maps} == {(0, 1), (0, 2)}, "one digit an image, of either kind"
        rows = [np.flatnonzero(one.any(axis=1)) for one in maps]
        assert min(np.ptp(row) for row in rows) >= 25, "all are large"
    inks = pasted_digits._digits(0, (7, 1))["test"]
    from sklearn.datasets import load_digits

    ink, kinds = load_digits(return_X_y=True)
    named = {one.astype(np.float32).tobytes(): kind for one, kind in zip(ink / 16, kinds, strict=True)}
    assert all(named[one.tobytes()] == (7, 1)[code - 1] for one, code in zip(*inks, strict=True))


def test_at_its_settings_of_before_the_pixels_are_those_of_before() -> None:
    small = load_data({"use": "pasted_digits", "train": 50, "validation": 20, "test": 20})
    assert small.digest == "e4beb88652705e5e"


def test_an_enlarged_digit_keeps_its_mean_and_its_range() -> None:
    ink = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    for side in (8, 16, 24):
        large = pasted_digits._enlarged(ink, side)
        assert large.shape == (side, side) and large.min() >= ink.min() - 1e-6 and large.max() <= ink.max() + 1e-6
    np.testing.assert_allclose(pasted_digits._enlarged(ink, 8), ink, rtol=1e-6)


def test_another_seed_gives_other_images_and_the_same_one_the_same() -> None:
    again, other = load_data(FEW), load_data({**FEW, "split_seed": 1})
    assert again.digest == DATA.digest != other.digest
    larger: Any = load_data({**FEW, "train": 30})
    np.testing.assert_array_equal(
        larger.pixels[:24], DATA.pixels[:24], "an image does not depend on how many there are"
    )


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"train": 0}, "train must be a whole number of at least 1, got 0"),
        ({"test": 2.5}, "test must be a whole number"),
        ({"size": 16}, "size must be 32 to 128 pixels"),
        ({"sizes": 3}, "sizes"),
        ({"digits": 2}, r"digits must be two whole numbers, \[least, most\], within 1 to 20, got 2"),
        ({"digits": [0, 2]}, "within 1 to 20"),
        ({"sides": [30, 20]}, "sides must be two whole numbers"),
        ({"sides": [20, 49]}, "within 8 to 48"),
        ({"sides": [20.0, 30.0]}, "sides must be two whole numbers"),
        ({"kinds": []}, "kinds must be some of the digits 0 to 9"),
        ({"kinds": [3, 3]}, "none twice"),
        ({"kinds": ["3"]}, "kinds must be some"),
    ],
)
def test_settings_that_make_no_data_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        load_data({**FEW, **settings})


def test_augmentation_that_would_leave_the_map_behind_is_refused() -> None:
    with pytest.raises(HwnasError, match="class for every pixel"):
        DATA.batch("train", np.arange(2), lambda images: images)


def test_maps_that_do_not_fit_their_images_are_refused() -> None:
    pixels, maps, parts = np.zeros((3, 8, 8, 1), np.uint8), np.zeros((3, 8, 8), np.int64), np.arange(3)
    assert Segmented.of("x", pixels + np.arange(8, dtype=np.uint8)[:, None], maps, parts, ("a",)).sizes()["test"] == 1
    with pytest.raises(HwnasError, match="must belong together"):
        Segmented.of("x", pixels, maps[:, 1:], parts, ("a",))
    with pytest.raises(HwnasError, match="1 classes, but its maps hold 0 to 2"):
        Segmented.of("x", pixels, maps + np.arange(3)[:, None, None], parts, ("a",))


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_what_ships_says_how_pixels_become_its_input(place: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"data": {**FEW, "size": 32}, "task": {"use": "segment"}, "preprocess": place}
    space = {"use": "auto_deeplab", "layers": 2, "strides": [4, 8], "width": 4}
    job = Job(read_run_file(run_file(tmp_path, space=space, **changes)))
    network = job.space_of("int8").lower(job.space_of("int8").smallest())
    recipe = raw_images.preprocess_record(job, network)
    assert recipe is not None and recipe["where"] == place
    given = raw_images.inputs(job, network, "test", np.arange(3))
    pixels = job.data.pixels[job.data.places["test"][:3]]  # type: ignore[attr-defined]
    if place == "inside":
        np.testing.assert_array_equal(given, pixels)
        assert recipe["mean"] == list(job.data.mean) and raw_images.data_constants(job, network)  # type: ignore[attr-defined]
        return
    for image, wanted in zip(pixels, given, strict=True):
        np.testing.assert_allclose(hwnas.preprocess(image, {"preprocess": recipe}), wanted[None], rtol=1e-4, atol=1e-4)
