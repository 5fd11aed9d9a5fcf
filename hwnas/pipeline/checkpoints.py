"""Trained weights on disk: found again by what they were trained from, set aside for other weights, never lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hwnas.paths import digest_file
from hwnas.pipeline.identity import Code, changed
from hwnas.pipeline.job import Job
from hwnas.train import load_state


def settled(job: Job, path: Path, identity: str, code: Code, training: str = "training again") -> Any | None:
    """The state at `path` where it has this identity, afterwards or since it was set aside earlier; else None.

    Weights of another identity are moved to `<run>/earlier/`, and a note says why: which settings or which code.
    `training` says what happens next where there is nothing to use.
    """
    if int(os.environ.get("RANK", "0")):
        return _found(job, path, identity)  # torchrun's first process moves files, the others only look
    aside, why, unfinished = None, None, False
    if path.exists():
        state = load_state(path)
        old = state if isinstance(state, dict) else {}
        if old.get("identity") == identity:
            return state
        aside = job.set_aside(path, str(old.get("identity") or digest_file(path)))  # two unnamed ones are two files
        unfinished = "epoch" in old  # the training loop's own file, which knows no code
        why = None if unfinished else changed(old.get("code"), code)
    if job.bring_back(path, identity):
        job.note(f"{path.name} of these settings was kept from an earlier run and is used again")
        return load_state(path)
    if aside is not None:
        by = why or ("other settings, data or code" if unfinished else "other settings or data")
        job.note(f"{path.name} was trained by {by}: {training}; the old file is kept as {aside}")
    return None


def _found(job: Job, path: Path, identity: str) -> Any | None:
    """The state of this identity, wherever the first process has it just now."""
    for place in (path, job.earlier(path, identity), path):
        state = load_state(place) if place.exists() else None
        if isinstance(state, dict) and state.get("identity") == identity:
            return state
    return None
