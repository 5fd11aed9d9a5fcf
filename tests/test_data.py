"""Data sets: four sources, one set of checks."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.data import Data, Raw, load_data, prepare
from hwnas.errors import HwnasError
from hwnas.plug import Trust
from hwnas.tasks.classify import Classify

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
    name, share = Classify().baseline(data)
    assert name == "linear classifier" and 0.93 < share < 0.98
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


def test_a_torch_dataset_is_read_by_import_path(tmp_path: Path) -> None:
    (tmp_path / "my_images.py").write_text(
        "import numpy, torch\n"
        "class Mine(torch.utils.data.Dataset):\n"
        "    def __init__(self, count=60): self.count = count\n"
        "    def __len__(self): return self.count\n"
        "    def __getitem__(self, i):\n"
        "        if i >= self.count: raise IndexError\n"
        "        return torch.full((1, 8, 8), float(i)), i % 3\n"
    )
    beside = Trust(beside=tmp_path)
    data = load_data({"use": "my_images:Mine", "count": 30}, beside)
    assert sum(data.sizes().values()) == 30
    with pytest.raises(HwnasError, match="nearest: count"):
        load_data({"use": "my_images:Mine", "cuont": 30}, beside)
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


def write_pictures(folder: Path, shapes: list[tuple[int, int]], count: int = 6) -> None:
    """`count` pictures of each of two classes, taking turns in shape (height, width)."""
    from PIL import Image

    for i in range(2 * count):
        height, width = shapes[i % len(shapes)]
        path = folder / f"class{i % 2}" / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)).save(path)


@pytest.mark.parametrize(
    ("shapes", "size", "expected", "said"),
    [
        ([(10, 16)], None, (10, 16), ""),
        ([(10, 16), (20, 32), (12, 16)], None, (12, 19), "the images differ in shape; scaled and cropped to 12x19"),
        ([(300, 600)], None, (256, 512), "the images are 300x600; scaled and cropped to 256x512"),
        ([(10, 16)], 8, (8, 8), ""),
        ([(10, 16)], [8, 12], (8, 12), ""),
    ],
)
def test_pictures_keep_their_shape_unless_it_is_asked_for(
    shapes: list[tuple[int, int]], size: object, expected: tuple[int, int], said: str, tmp_path: Path
) -> None:
    write_pictures(tmp_path, shapes)
    data = load_data({"use": "folder", "path": str(tmp_path)} | ({} if size is None else {"size": size}))
    assert data.facts["image_size"] == expected
    assert said in " ".join(data.notes) and bool(said) == bool(data.notes)


def test_a_picture_is_turned_as_its_orientation_tag_says(tmp_path: Path) -> None:
    from PIL import Image

    write_pictures(tmp_path, [(16, 10)])
    upright = load_data({"use": "folder", "path": str(tmp_path)}).raw("train", slice(None))
    for file in tmp_path.rglob("*.png"):
        with Image.open(file) as picture:
            tags = picture.getexif()
            tags[274] = 6  # seen turned by a quarter clockwise
            picture.transpose(Image.Transpose.ROTATE_90).save(file, exif=tags)
    np.testing.assert_array_equal(
        load_data({"use": "folder", "path": str(tmp_path)}).raw("train", slice(None)), upright
    )


def test_a_folder_is_decoded_once_and_again_when_a_file_changes_or_the_cache_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwnas.data.sources import folder as source

    decoded: list[Path] = []
    honest = source._read
    monkeypatch.setattr(source, "_read", lambda file, *rest: (decoded.append(file), honest(file, *rest))[1])
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    pictures = tmp_path / "pictures"
    write_pictures(pictures, [(9, 9)])
    settings = {"use": "folder", "path": str(pictures)}
    first = load_data(settings)
    again = load_data(settings)
    assert len(decoded) == 12 and first.digest == again.digest
    assert isinstance(again.pixels, np.memmap) and not again.pixels.flags.writeable
    (kept,) = (tmp_path / "cache").glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:500])
    assert load_data(settings).digest == first.digest and len(decoded) == 24
    write_pictures(pictures, [(9, 9)])
    assert load_data(settings).digest != first.digest and len(decoded) == 36


def test_a_decoding_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    write_pictures(tmp_path / "pictures", [(9, 9)])
    cut = tmp_path / "pictures" / "class0" / "00.png"
    cut.write_bytes(cut.read_bytes()[:90])
    with pytest.raises(HwnasError, match=r"00\.png is not a readable image"):
        load_data({"use": "folder", "path": str(tmp_path / "pictures"), "size": 9})
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] in ([], [".lock"])


def test_large_arrays_are_unpacked_once_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hwnas.data.pixels
    from hwnas.data import archive

    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    small = load_data({"use": "npz", "path": str(path)})
    monkeypatch.setattr(archive, "IN_MEMORY", 100)
    monkeypatch.setattr(hwnas.data.pixels, "IN_MEMORY", 100)
    for _ in range(2):
        large = load_data({"use": "npz", "path": str(path)})
        assert hwnas.data.cache.file_of(large.pixels) and not hwnas.data.cache.file_of(small.pixels)
        assert large.digest == small.digest and large.mean == small.mean
        np.testing.assert_array_equal(large.raw("test", slice(None)), small.raw("test", slice(None)))


def test_a_large_torch_dataset_and_real_numbers_are_read_item_by_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwnas.data import foreign

    real = IMAGES.astype(np.float32) / 255

    def items() -> list[tuple[np.ndarray, int]]:
        return list(zip(real, LABELS.tolist(), strict=True))

    whole = prepare(foreign.as_raw(items(), "mine"))
    monkeypatch.setattr(foreign, "IN_MEMORY", 100)
    mapped = prepare(foreign.as_raw(items(), "mine"))
    assert isinstance(foreign.as_raw(items(), "mine").images, np.memmap)
    assert mapped.digest == whole.digest
    assert torch.equal(mapped.batch("train", slice(None)).images, whole.batch("train", slice(None)).images)
    with pytest.raises(HwnasError, match="raw images are whole numbers"):
        whole.raw("train", slice(None))
    with pytest.raises(HwnasError, match="give them one shape"):
        foreign.as_raw([*items(), (real[0, :, :4], 0)], "mine")


def test_a_shift_and_a_flip_move_each_image_as_drawn() -> None:
    from hwnas.data.augmentation import Augmentation

    images = torch.arange(18.0).reshape(2, 1, 3, 3) + 1
    moved = Augmentation(np.array([[1, 0], [0, -2]]), np.array([False, True]))(images)
    assert moved[0, 0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert moved[1, 0].tolist() == [[0, 0, 12], [0, 0, 15], [0, 0, 18]]
    gone = Augmentation(np.array([[5, 0], [0, -7]]), None)(images)
    assert not gone.any(), "a shift longer than the image leaves nothing"


def test_the_example_on_photographs_makes_six_classes_whose_splits_share_no_pixel(
    tmp_path: Path, repository: Path
) -> None:
    import runpy

    made = runpy.run_path(str(repository / "examples" / "photos.py"))
    assert made["write_folder"](tmp_path / "photos") == 900
    ends = sorted((first, end) for first, end, _ in made["SPLITS"].values())
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ends))
    data = load_data({"use": "folder", "path": str(tmp_path / "photos")})
    assert data.facts == {"in_channels": 3, "classes": 6, "image_size": (96, 96)}
    assert data.sizes() == {"train": 480, "validation": 180, "test": 240}


def test_data_take_little_more_memory_than_their_bytes(tmp_path: Path) -> None:
    """48 MiB of pixels: held once, digested and asked for by the batch. Held as floats they would be 192 MiB more."""
    np.savez(tmp_path / "a.npz", images=np.tile(IMAGES, (64, 1, 8, 8)), labels=np.tile(LABELS, 64))
    script = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from hwnas.data import balanced, load_data\n"
        "def held():\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return sum(int(l.split()[1]) for l in lines if l.startswith(('RssAnon', 'RssShmem'))) / 1024\n"
        "warm = torch.ones(64, 3, 64, 64) * 2\n"
        "before = held()\n"
        "data = load_data({'use': 'npz', 'path': sys.argv[1]})\n"
        "data.digest\n"
        "for i in range(20): data.batch('train', balanced(data, 'train', 64, i))\n"
        "print(held() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.npz")], capture_output=True, text=True, check=True
    )
    mebibytes = 64 * 60 * 3 * 64 * 64 / 2**20
    assert float(done.stdout) < 2 * mebibytes + 20
