"""Differences that a commit is meant to make, so that it can land: normally none.

An entry holds where the base lacks the commit of that subject; once the base has it, it says nothing any more and is
to be deleted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Meant:
    """`places` is a pattern of fnmatch over the places that `python -m tests.equality` prints; `commit` a subject."""

    places: str
    commit: str
    reason: str


MEANT: tuple[Meant, ...] = (
    Meant(
        "*results.json:*:verified",
        "What a run reports, compares and ships by is the task's metric; "
        "data are a protocol and images one kind of them",
        '"same class" became "same answer": what that is, a task says',
    ),
)
