"""jpegs: images packed in one .npz, decoded, scaled and split by the files they come from."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hwnas.data import load_data
from hwnas.errors import HwnasError


def packed_jpegs(path: Path, labels: np.ndarray, side: int = 12) -> None:
    """A file as `jpegs` reads it: every image of one grey that its label gives."""
    files = []
    for label in labels:
        buffer = io.BytesIO()
        Image.fromarray(np.full((side, side, 3), 20 * int(label), np.uint8)).save(buffer, "JPEG", quality=95)
        files.append(buffer.getvalue())
    offsets = np.cumsum([0, *(len(file) for file in files)]).astype(np.int32)
    np.savez(path, data=np.frombuffer(b"".join(files), np.uint8), offsets=offsets, y=labels)


def test_jpegs_packed_in_one_file_are_decoded_scaled_and_split_by_the_files_they_come_from(tmp_path: Path) -> None:
    packed_jpegs(tmp_path / "train.npz", np.repeat(np.arange(3), 10))
    packed_jpegs(tmp_path / "test.npz", np.repeat(np.arange(3), 4))
    files = {"path": str(tmp_path / "train.npz"), "test": str(tmp_path / "test.npz")}
    data = load_data({"use": "jpegs", **files, "size": 6})
    assert data.facts == {"in_channels": 3, "classes": 3, "image_size": (6, 6)}
    assert data.sizes() == {"train": 24, "validation": 6, "test": 12}
    for split in ("train", "validation", "test"):
        images, labels = data.raw(split, slice(None)), data.targets(split)
        np.testing.assert_allclose(images[:, 2, 2, 0], 20 * labels, atol=2)
    some = load_data({"use": "jpegs", **files, "count": 9})
    assert sum(some.sizes().values()) == 18 and np.bincount(some.targets("test")).tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda a: {**a, "offsets": a["offsets"][:-1]}, "offsets must rise"),
        (lambda a: {**a, "offsets": a["offsets"] * 2}, "offsets must rise"),
        (lambda a: {"data": a["data"], "y": a["y"]}, "does not hold data, offsets and y"),
        (lambda a: {**a, "data": np.zeros_like(a["data"])}, "image 0 is not readable"),
    ],
)
def test_a_spoilt_file_of_jpegs_is_one_line(tmp_path: Path, spoil: Any, told: str) -> None:
    packed_jpegs(tmp_path / "good.npz", np.repeat(np.arange(2), 5))
    with np.load(tmp_path / "good.npz") as arrays:
        np.savez(tmp_path / "bad.npz", **spoil(dict(arrays)))
    with pytest.raises(HwnasError, match=told):
        load_data({"use": "jpegs", "path": str(tmp_path / "bad.npz")})
