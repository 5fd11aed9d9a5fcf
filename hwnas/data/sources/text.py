"""text: files of `label text` a line, as word pieces that are learnt from the training text alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.data.splits import SPLITS, placed, stratified
from hwnas.errors import HwnasError
from hwnas.network import INPUT, Port
from hwnas.paths import digest
from hwnas.protocols import Batch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, UNKNOWN, FIRST = "[PAD]", "[UNK]", "[CLS]"  # tokens 0, 1, 2; every text begins with FIRST, so none is empty
LEAST_VOCABULARY = 128  # the characters of a text and some; engines are timed with tokens below it


@dataclass(frozen=True, eq=False)
class Texts:
    """Classified texts, a Data. `tokens` int64 (N, length), filled up with 0; `labels` int64 (N,).

    `vocabulary` is the number of tokens there may be: rows of an embedding's table. `pieces` makes tokens of text.
    """

    name: str
    classes: tuple[str, ...]
    tokens: np.ndarray
    labels: np.ndarray
    places: Mapping[str, np.ndarray]
    vocabulary: int
    pieces: Tokenizer
    notes: tuple[str, ...] = ()
    mapped: bool = False

    @property
    def inputs(self) -> dict[str, Port]:
        """The tokens of a text."""
        return {INPUT: Port((self.tokens.shape[1],), "int64")}

    @property
    def facts(self) -> dict[str, Any]:
        """classes, vocabulary, length (tokens a text)."""
        return {"classes": len(self.classes), "vocabulary": self.vocabulary, "length": int(self.tokens.shape[1])}

    def sizes(self) -> dict[str, int]:
        return {split: len(where) for split, where in self.places.items()}

    def targets(self, split: str) -> np.ndarray:
        """The labels of a split, int64 (n,)."""
        return self.labels[self._places(split)]

    def batch(self, split: str, indices: np.ndarray | slice, augment: Any = None) -> Batch:
        """Texts `indices` of a split as int64 (n, length), and their labels. HwnasError where they are to be shifted or
        flipped: tokens are no pixels."""
        import torch

        if augment is not None:
            raise HwnasError(
                f"data {self.name} are texts, which no augmentation is for", hint="train: no shift, no flip"
            )
        where = self._places(split)[indices]
        return Batch({INPUT: torch.from_numpy(self.tokens[where])}, torch.from_numpy(self.labels[where]))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Texts as a net that was trained on these data takes them: int64 (n, length)."""
        return encoded(self.pieces, texts, self.tokens.shape[1])

    @cached_property
    def digest(self) -> str:
        """16 digits over every token, label and split."""
        marks = [digest(np.ascontiguousarray(self.places[split]).tobytes()) for split in SPLITS]
        held = [digest(self.tokens.tobytes()), digest(self.labels.tobytes())]
        return digest([held, marks, list(self.classes), self.vocabulary])

    def _places(self, split: str) -> np.ndarray:
        if split not in self.places:
            raise HwnasError(f"data has no split {split!r}", hint=f"it has {', '.join(self.places)}")
        return self.places[split]


def text(
    train: str,
    test: str,
    validation: str | None = None,
    length: int = 32,
    vocabulary: int = 4000,
    encoding: str = "latin-1",
    split_seed: int = 0,
    shares: Any = (0.6, 0.2, 0.2),
) -> Texts:
    """Texts of three files; without `validation`, the second of `shares` of the training texts validates.

    `length` tokens a text: longer ones are cut. `vocabulary` word pieces at most, learnt from what trains and nothing
    else. HwnasError names the file and line that is no `label text`.
    """
    _whole("length", length, 2)
    _whole("vocabulary", vocabulary, LEAST_VOCABULARY)
    given = [(train, 0), *([] if validation is None else [(validation, 1)]), (test, 2)]
    kinds, texts, parts = list[str](), list[str](), list[int]()
    for path, part in given:
        for label, words in lines_of(path, encoding):
            kinds.append(label)
            texts.append(words)
            parts.append(part)
    part_of = np.array(parts)
    names, labels = _classes(kinds, part_of)
    if validation is None:
        part_of = _with_validation(part_of, labels, split_seed, shares)
    places = placed(part_of)
    pieces = learnt([texts[i] for i in places["train"]], vocabulary)
    tokens = encoded(pieces, texts, length)
    cut = int((tokens[:, -1] != 0).sum())
    note = f"{cut} of {len(texts)} texts fill all of {length} tokens or are cut there"
    return Texts(Path(train).stem, names, tokens, labels, places, vocabulary, pieces, (note,))


def lines_of(path: str, encoding: str) -> list[tuple[str, str]]:
    """(label, text) of every line; lines end at a line feed alone, since texts hold other separators."""
    try:
        whole = Path(path).read_bytes().decode(encoding)
    except FileNotFoundError:
        raise HwnasError(f"data file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, LookupError) as problem:
        raise HwnasError(f"data file {path} is no text that can be read: {problem}") from None
    found = []
    for number, line in enumerate(whole.split("\n"), 1):
        if line.strip():
            label, _, words = line.strip().partition(" ")
            if not words.strip():
                raise HwnasError(f"{path}, line {number}: must be `label text`, got {line[:60]!r}")
            found.append((label, words))
    if not found:
        raise HwnasError(f"data file {path} holds no text")
    return found


def learnt(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Word pieces of lower-case words, `vocabulary` at most with the three special tokens: the same of the same texts.

    The trainer numbers pieces of one letter as it meets them, in an order that changes from run to run and decides
    ties. So they are given first, sorted, and what it learnt becomes a tokenizer to which they are pieces like others.
    """
    from tokenizers.trainers import WordPieceTrainer

    pieces = _untrained()
    assert pieces.normalizer is not None and pieces.pre_tokenizer is not None
    words = [
        word for one in texts for word, _ in pieces.pre_tokenizer.pre_tokenize_str(pieces.normalizer.normalize_str(one))
    ]
    # Letters beyond a quarter of the vocabulary, the rarest ones, are left out: they would crowd out every word.
    counts = Counter(letter for word in words for letter in word)
    letters = set(sorted(counts, key=lambda letter: (-counts[letter], letter))[: vocabulary // 4])
    inside = [f"##{letter}" for letter in sorted(letters)]
    trainer = WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=[PAD, UNKNOWN, FIRST, *inside], show_progress=False
    )
    pieces.train_from_iterator((word for word in words if letters.issuperset(word)), trainer)
    return _untrained(pieces.get_vocab())


def _untrained(vocabulary: Mapping[str, int] | None = None) -> Tokenizer:
    """Lower case, split at blanks and punctuation, into the longest pieces of a vocabulary."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    known = {} if vocabulary is None else {"vocab": dict(vocabulary)}
    pieces = Tokenizer(WordPiece(unk_token=UNKNOWN, **known))
    pieces.normalizer, pieces.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    return pieces


def encoded(pieces: Tokenizer, texts: Sequence[str], length: int) -> np.ndarray:
    """int64 (n, length): FIRST, then a text's pieces, cut or filled up with 0."""
    tokens = np.zeros((len(texts), length), np.int64)
    tokens[:, 0] = pieces.get_vocab()[FIRST]
    for row, one in zip(tokens, pieces.encode_batch(list(texts)), strict=True):
        ids = one.ids[: length - 1]
        row[1 : 1 + len(ids)] = ids
    return tokens


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise HwnasError(f"data: {name} must be a whole number of at least {least}, got {value!r}")


def _classes(kinds: Sequence[str], parts: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names, sorted, and int64 labels. HwnasError where one is not trained on, or there is one alone."""
    found, labels = np.unique(np.array(kinds), return_inverse=True)
    trained = set(labels[parts == 0].tolist())
    strange = [str(name) for i, name in enumerate(found) if i not in trained]
    if strange:
        raise HwnasError(f"data: label {strange[0]!r} is in no training text", hint="a line begins with its label")
    if len(found) < 2:
        raise HwnasError(f"data: one class only ({len(labels)} texts)", hint="a classifier needs at least two")
    return tuple(map(str, found)), labels.astype(np.int64)


def _with_validation(parts: np.ndarray, labels: np.ndarray, seed: int, shares: Any) -> np.ndarray:
    """`parts` with some of the training texts of every class in part 1."""
    where = np.flatnonzero(parts == 0)
    own = stratified(labels[where], seed, shares)
    divided = parts.copy()
    divided[where] = np.where(own == 1, 1, 0)  # the test texts have a file of their own: that share trains
    return divided
