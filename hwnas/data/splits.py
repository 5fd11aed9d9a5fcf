"""Which images train, validate and test, and the one way to draw "some images" of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import HwnasError

if TYPE_CHECKING:
    from hwnas.protocols import Data

SPLITS = ("train", "validation", "test")


def balanced(data: Data, split: str, count: int, seed: int) -> np.ndarray:
    """Indices into a split, int64 (min(count, n),): a seeded draw without replacement in which classes take turns.

    Targets that are no labels (maps, real numbers) are one class. Every prefix is balanced too: among the first k
    examples no class has more than one above another, until a class has no more to give. So whoever takes "the first
    few" of these sees every class, however the files were sorted.
    """
    return in_turns(labels_of(data, split), count, seed)


def in_turns(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The same of labels (n,) alone."""
    rng = np.random.default_rng((seed, len(labels)))
    turn = np.empty(len(labels), dtype=np.int64)  # in which round an image's class gives it
    order = rng.permutation(len(labels))
    for kind in np.unique(labels):
        members = order[labels[order] == kind]
        turn[members] = np.arange(len(members))
    shuffled = rng.permutation(len(labels))
    drawn: np.ndarray = shuffled[np.argsort(turn[shuffled], kind="stable")]
    return drawn[:count]


def labels_of(data: Data, split: str) -> np.ndarray:
    """The class of every example of a split, (n,): its label, or 0 where targets are no labels (maps, real numbers)."""
    targets = data.targets(split)
    return targets if targets.ndim == 1 and targets.dtype.kind in "iub" else np.zeros(len(targets), dtype=np.int64)


def placed(parts: np.ndarray) -> dict[str, np.ndarray]:
    """Where the examples of each split are, out of the part 0, 1 or 2 of every one."""
    return {split: np.flatnonzero(parts == i) for i, split in enumerate(SPLITS)}


def checked_parts(parts: np.ndarray | None, labels: np.ndarray, where: str, noun: str) -> np.ndarray | None:
    """The part 0, 1 or 2 of every example as a file gives it, or None; HwnasError where it is something else."""
    if parts is not None and (parts.shape != labels.shape or not np.isin(parts, (0, 1, 2)).all()):
        raise HwnasError(f"{where} must hold 0, 1 or 2 for every {noun}")
    return parts


def stratified(labels: np.ndarray, seed: int, shares: Any) -> np.ndarray:
    """Part 0, 1 or 2 of every image, each class shared out alike."""
    numbers = isinstance(shares, list | tuple) and all(
        isinstance(s, int | float) and not isinstance(s, bool) for s in shares
    )
    if not numbers or len(shares) != 3 or not min(shares) > 0 or not abs(sum(shares) - 1) <= 1e-6:
        raise HwnasError(f"data: shares must be three positive numbers that sum to 1, got {shares!r}")
    rng = np.random.default_rng(seed)
    parts = np.zeros(len(labels), dtype=np.int64)
    for kind in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == kind))
        if len(members) < 3:
            raise HwnasError(
                f"data: class {kind} has {len(members)} examples",
                hint="each class needs at least three: one to train, validate, test",
            )
        first = max(1, min(len(members) - 2, round(shares[0] * len(members))))
        second = max(first + 1, min(len(members) - 1, round((shares[0] + shares[1]) * len(members))))
        parts[members[first:second]] = 1
        parts[members[second:]] = 2
    return parts
