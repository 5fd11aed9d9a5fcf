"""Word pieces: learnt from what trains alone, cut and filled up to one length, the same whenever they are learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="tokenizers is not installed: pip install 'hwnas[train]'")

from hwnas.data import load_data
from hwnas.data.sources.text import Texts
from hwnas.errors import HwnasError
from hwnas.network import Port
from hwnas.testing import check

TRAIN = [f"{i % 2} {'good film' if i % 2 else 'dull plot'} number {i}\n" for i in range(20)]
VALIDATION = ["1 good zebra\n", "0 dull zebra\n"]
TEST = ["1 a good xylophone\n", "0 a xylophone\n", "0 dull\n"]


def written(folder: Path, train: str | bytes = "".join(TRAIN), **settings: Any) -> dict[str, Any]:
    """A run file's `data:` section of three small files in `folder`; `validation: None` leaves that file out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.txt").write_bytes(train if isinstance(train, bytes) else train.encode("latin-1"))
    (folder / "validation.txt").write_text("".join(VALIDATION))
    (folder / "test.txt").write_text("".join(TEST))
    paths = {split: str(folder / f"{split}.txt") for split in ("train", "validation", "test")}
    asked = {"use": "text", **paths, "length": 6, "vocabulary": 128, **settings}
    return {name: value for name, value in asked.items() if value is not None}


def loaded(folder: Path, **settings: Any) -> Texts:
    data = load_data(written(folder, **settings))
    assert isinstance(data, Texts)
    return data


def test_every_law_of_data_holds(tmp_path: Path) -> None:
    check("data", lambda: loaded(tmp_path))


def test_tokens_are_of_one_length_and_begin_alike_and_end_in_zeros(tmp_path: Path) -> None:
    data = loaded(tmp_path)
    assert data.inputs == {"x": Port((6,), "int64")} and data.classes == ("0", "1")
    assert data.facts == {"classes": 2, "vocabulary": 128, "length": 6}
    assert data.sizes() == {"train": 20, "validation": 2, "test": 3}
    names = data.pieces.get_vocab()
    dull = data.batch("test", np.array([2])).images[0].tolist()
    assert dull == [names["[CLS]"], names["dull"], 0, 0, 0, 0] and names["[PAD]"] == 0
    assert data.tokens.max() < data.vocabulary
    cut = data.encode(["good " * 50, ""])
    assert cut.shape == (2, 6) and cut.all(axis=1).tolist() == [True, False] and cut[1].tolist() == [2, 0, 0, 0, 0, 0]


def test_no_word_of_validation_or_test_is_learnt(tmp_path: Path) -> None:
    """Other words there change no token of the training texts, and no piece is made of them."""
    data = loaded(tmp_path)
    learnt = set("".join(piece.removeprefix("##") for piece in data.pieces.get_vocab() if piece[0] != "["))
    assert learnt <= set("".join(TRAIN)), "letters of the training texts alone"
    assert not {"zebra", "xylophone", "##ebra"} & set(data.pieces.get_vocab())
    assert data.pieces.token_to_id("[UNK]") in data.batch("test", np.array([1])).images[0], "x and y were never seen"


def test_texts_that_validate_are_not_learnt_where_they_are_cut_out_of_the_training_file(tmp_path: Path) -> None:
    lines = "".join(f"{i % 2} word{i} qq{chr(97 + i)}\n" for i in range(20))
    data = loaded(tmp_path, train=lines, validation=None, shares=[0.6, 0.3, 0.1])
    assert data.sizes() == {"train": 14, "validation": 6, "test": 3}
    own = {chr(97 + i) for i in data.places["validation"]}
    pieces = data.pieces.get_vocab()
    assert not any(f"qq{letter}" in pieces or f"##q{letter}" in pieces for letter in own)
    assert np.bincount(data.targets("validation")).tolist() == [3, 3]
    other = loaded(tmp_path, train=lines, validation=None, shares=[0.6, 0.3, 0.1], split_seed=1)
    assert other.digest != data.digest


def test_lines_end_at_a_line_feed_alone_and_are_latin_1(tmp_path: Path) -> None:
    odd = "".join(TRAIN).encode() + b"1 caf\xe9\x85 still the\x0b same line\n"
    assert loaded(tmp_path, train=odd).sizes()["train"] == 21


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": "1 good\nbad\n"}, "line 2: must be `label text`, got 'bad'"),
        ({"train": "1 good\n1 fine\n"}, "label '0' is in no training text"),
        ({"train": ""}, "holds no text"),
        ({"encoding": "utf-9"}, "is no text that can be read"),
        ({"length": 1}, "length must be a whole number of at least 2, got 1"),
        ({"vocabulary": "many"}, "vocabulary must be a whole number of at least 128, got 'many'"),
        ({"lenght": 4}, "unknown key 'lenght'; nearest: length"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(HwnasError) as refused:
        load_data(written(tmp_path, **settings))
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_missing_file_and_an_augmentation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match=r"none\.txt does not exist"):
        load_data({**written(tmp_path), "test": str(tmp_path / "none.txt")})
    with pytest.raises(HwnasError, match="no augmentation"):
        loaded(tmp_path).batch("train", np.array([0]), augment=lambda x: x)


@pytest.mark.parametrize(
    ("train", "validation", "test", "sizes", "classes"),
    [
        ("stsa.binary.train", "stsa.binary.dev", "stsa.binary.test", (6920, 872, 1821), 2),
        ("TREC.train.all", None, "TREC.test.all", (4907, 545, 500), 6),
    ],
)
def test_the_published_splits_are_read_as_they_are(
    train: str, validation: str | None, test: str, sizes: tuple[int, ...], classes: int, shared_data: Path
) -> None:
    held = {"train": train, "validation": validation, "test": test}
    paths = {split: str(shared_data / "text" / name) for split, name in held.items() if name}
    data = load_data({"use": "text", **paths, "vocabulary": 1000, "length": 24, "shares": [0.8, 0.1, 0.1]})
    assert isinstance(data, Texts)
    assert tuple(data.sizes().values()) == sizes and len(data.classes) == classes
    unknown = float((data.tokens == 1).mean())
    assert unknown < 0.001, f"pieces cover nearly every word, {unknown:.4f} of the tokens are unknown"
