"""Data sets: four sources, one set of checks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.data import Data, Raw, linear_baseline, load_data, prepare
from hwnas.errors import HwnasError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 3, 8, 8)).astype(np.uint8)
LABELS = np.arange(60) % 3


def test_the_embedded_digits_are_split_by_class_and_normalised() -> None:
    data = load_data({"use": "digits"})
    assert data.sizes() == {"train": 1078, "validation": 360, "test": 359}
    assert data.facts == {"in_channels": 1, "classes": 10, "image_size": (8, 8)} and data.pixels.dtype == np.uint8
    batch = data.batch("train", slice(None))
    assert batch.images.dtype == torch.float32 and batch.images.shape == (1078, 1, 8, 8)
    assert abs(float(batch.images.mean())) < 1e-3 and abs(float(batch.images.std()) - 1) < 1e-3
    shares = [np.bincount(data.targets(split)) / n for split, n in data.sizes().items()]
    assert np.ptp(shares, axis=0).max() < 0.01
    assert 0.93 < linear_baseline(data) < 0.98
    assert data.digest == load_data({"use": "digits"}).digest != load_data({"use": "digits", "split_seed": 1}).digest


def same_pixels(data: Data) -> None:
    mean = np.array(data.mean)[None, :, None, None]
    std = np.array(data.std)[None, :, None, None]
    batches = [data.batch(split, slice(None)).images.numpy() for split in data.sizes()]
    pixels = np.concatenate([images * std + mean for images in batches])
    raw = np.concatenate([data.raw(split, slice(None)) for split in data.sizes()])
    np.testing.assert_array_equal(np.sort(raw.ravel()), np.sort(IMAGES.ravel()))
    np.testing.assert_allclose(np.sort(pixels.ravel()), np.sort(IMAGES.ravel()), atol=1e-2)


def test_an_npz_is_read_in_either_layout(tmp_path: Path) -> None:
    for name, images in (("nchw", IMAGES), ("nhwc", IMAGES.transpose(0, 2, 3, 1))):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=LABELS)
        data = load_data({"use": "npz", "path": str(tmp_path / f"{name}.npz")})
        assert data.facts["in_channels"] == 3 and data.classes == ("0", "1", "2")
        same_pixels(data)


def test_an_npz_with_given_parts_keeps_them(tmp_path: Path) -> None:
    part = np.repeat([0, 1, 2], [36, 12, 12])
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, part=part)
    data = load_data({"use": "npz", "path": str(tmp_path / "a.npz")})
    assert data.sizes() == {"train": 36, "validation": 12, "test": 12}


def test_an_image_folder_is_read_by_class(tmp_path: Path) -> None:
    from PIL import Image

    for i, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        path = tmp_path / f"class{label}" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    data = load_data({"use": "folder", "path": str(tmp_path), "size": 8})
    assert data.classes == ("class0", "class1", "class2")
    same_pixels(data)
    (tmp_path / "class0" / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(HwnasError, match=r"broken\.png is not a readable image"):
        load_data({"use": "folder", "path": str(tmp_path), "size": 8})


def test_a_torch_dataset_is_read_by_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_images.py").write_text(
        "import numpy, torch\n"
        "class Mine(torch.utils.data.Dataset):\n"
        "    def __init__(self, count=60): self.count = count\n"
        "    def __len__(self): return self.count\n"
        "    def __getitem__(self, i):\n"
        "        if i >= self.count: raise IndexError\n"
        "        return torch.full((1, 8, 8), float(i)), i % 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    data = load_data({"use": "my_images:Mine", "count": 30})
    assert sum(data.sizes().values()) == 30
    with pytest.raises(HwnasError, match="nearest: count"):
        load_data({"use": "my_images:Mine", "cuont": 30})
    sys.modules.pop("my_images")


def broken(**changes: object) -> Raw:
    return Raw(**{"name": "mine", "images": IMAGES, "labels": LABELS, "classes": ("0", "1", "2"), **changes})  # type: ignore[arg-type]


def test_images_with_nan_are_counted_and_the_first_is_named() -> None:
    images = IMAGES.astype(np.float32)
    images[[7, 9], 0, 0, 0] = np.nan, np.inf
    with pytest.raises(HwnasError, match="2 images have NaN or infinite pixels, the first at index 7"):
        prepare(broken(images=images))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": np.zeros(60, int)}, "one class only"),
        ({"labels": LABELS[:50]}, "with N labels"),
        ({"images": IMAGES.reshape(60, -1)}, r"must be \(N, C, H, W\)"),
        ({"labels": LABELS.astype(float)}, "labels whole numbers"),
        ({"images": IMAGES[:5], "labels": LABELS[:5]}, "each class needs at least three"),
        ({"parts": np.zeros(60, int)}, "the validation split is empty"),
    ],
)
def test_data_that_cannot_train_a_classifier_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        prepare(broken(**changes))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "'use' must name a data set"),
        ({"use": "digitz"}, "nearest: digits"),
        ({"use": "npz"}, "path must be given"),
        ({"use": "npz", "path": "nowhere.npz"}, "does not exist"),
        ({"use": "folder", "path": "nowhere"}, "does not exist"),
        ({"use": "digits", "shares": [0.5, 0.5]}, "three positive numbers"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings: dict[str, object], told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        load_data(settings)
