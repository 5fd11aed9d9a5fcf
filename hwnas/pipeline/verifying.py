"""Stage: every exported file is run in a fresh process and compared with the quantised module's outputs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import CheckFailed, HwnasError
from hwnas.export.expected import length, read
from hwnas.export.native.fallback import is_kept_for_onnxruntime, kept_file
from hwnas.export.verify import Tolerance, VerifyResult
from hwnas.export.verify import verify as verify_file
from hwnas.paths import digest_file, read_json
from hwnas.pipeline.identity import VERIFYING, code_behind, code_of
from hwnas.pipeline.job import Job, make_task
from hwnas.pipeline.shipping import MANIFEST, Shipped, files_of
from hwnas.protocols import Task


def verify(job: Job, shipped: Shipped, manifest: dict[str, Any], fresh: bool = False) -> dict[str, Any]:
    """Runs the exported file on the test images in a fresh process without hwnas; CheckFailed when outputs differ.

    A verdict is kept for the very bytes it speaks of, the samples and the runtime included; `fresh` runs regardless.
    """
    import onnxruntime

    # What runs on the device comes first; the ONNX file that it was compiled from must hold as well.
    unrun = _unrunnable(job, shipped)
    artefacts = (shipped.model,) if unrun else tuple(dict.fromkeys((shipped.artefact, shipped.model)))
    bounds = manifest["tolerance"]
    asked = [bounds, job.config.task]
    spoken_of = {name: digest_file(shipped.folder / name) for name in files_of(shipped)}
    identity = [spoken_of, digest_file(shipped.samples), asked, onnxruntime.__version__, *([unrun] if unrun else [])]
    name, code = (
        f"export/{shipped.target.name}/verified-{shipped.artefact.name}",
        code_of(VERIFYING) | code_behind(job.task),
    )
    kept = None if fresh else job.kept(name, identity, code)
    if kept is not None:
        return dict(kept)
    with job.stage("verify"):
        held = read(shipped.samples)
        checked = [
            verify_file(one, held.inputs, held.targets, held.outputs, bound_of(one, bounds), job.task)
            for one in artefacts
        ]
    for one, result in zip(artefacts, checked, strict=True):
        if not result.ok:
            raise CheckFailed(f"{one} does not give the quantised module's outputs: {result}")
    # An emulated library may have run on fewer images; the ONNX file, which comes last, ran on all of them.
    whole = next((result for result in checked if result.samples == length(held.outputs)), checked[-1])
    said = [*map(str, checked), *([f"its library was not run: {unrun}"] if unrun else [])]
    record = whole.record() | {"summary": "; ".join(said)}
    job.keep(name, identity, record, code, replace=True)
    return record


#: what equal means of a network of floats, as a person writes it into samples of their own
A_TOLERANCE = '{"onnx": {"rounding": 2e-4, "steps": 0}, "native": {"rounding": 2e-4, "steps": 0}}'


def _unrunnable(job: Job, shipped: Shipped) -> str | None:
    """Why a library for the device cannot run here, not even emulated; None where it can, or where there is none."""
    from hwnas.export.native.emulate import why_not_here
    from hwnas.kernels.target import parse_target

    return why_not_here(parse_target(job.device.target)) if shipped.artefact.is_dir() else None


def bound_of(artefact: Path, bounds: Any) -> Tolerance:
    """The tolerance of a file, or of a native library's folder, out of `{"onnx": ..., "native": ...}`."""
    try:
        bound = Tolerance(**bounds["native" if artefact.is_dir() else "onnx"])
        if not all(0 <= number < math.inf for number in (bound.rounding, bound.steps)):
            raise ValueError(bound)
        return bound
    except (KeyError, TypeError, ValueError):
        raise HwnasError(
            f"what is known of {artefact} gives no tolerance that this version reads", hint="export it again"
        ) from None


def verify_alone(artefact: Path, samples: Path | None) -> tuple[VerifyResult, Task | None]:
    """One exported file or library folder against expected outputs, those its manifest names, or `samples`: what was
    seen, and the task that it was judged by.

    What is equal enough comes from the samples, which the export wrote for one network, or from the manifest.
    HwnasError where neither says, since a guess could pass a wrong file.
    """
    if is_kept_for_onnxruntime(artefact):
        artefact = kept_file(artefact)
    entry = entry_of(artefact)
    if samples is None and not entry and artefact.is_dir():
        _refuse_whole_folder(artefact)
    if samples is None and "samples" not in entry:
        raise HwnasError(
            f"no {MANIFEST} beside or in {artefact} says which samples it must answer",
            hint="give --samples FILE.npz; `hwnas export` leaves expected.*.npz beside its files",
        )
    chosen = samples if samples is not None else _beside(entry)
    held = read(chosen)
    bounds = held.tolerance if held.tolerance is not None else entry.get("tolerance")
    if bounds is None:
        raise HwnasError(
            f"neither {chosen} nor a {MANIFEST} of an export says how equal {artefact} must be",
            hint="samples that `hwnas export` wrote hold a tolerance; add `tolerance` to yours, rounding 0 where every "
            f"operator works on integers: '{A_TOLERANCE}'",
        )
    # a stranger's model with several outputs is of no task that we know: nothing but its outputs is judged
    task = None if not entry and isinstance(held.outputs, Mapping) else task_of(entry)
    found = verify_file(artefact, held.inputs, held.targets, held.outputs, bound_of(artefact, bounds), task)
    return found, task


def task_of(entry: dict[str, Any]) -> Task:
    """The task that a manifest's entry names, one of hwnas; classification where it names none, as old ones do."""
    settings = entry.get("task", {"use": "classify"})
    if not isinstance(settings, dict):
        raise HwnasError(f"a manifest's task must be a mapping such as {{use: classify}}, got {settings!r}")
    return make_task(settings)


def _beside(entry: dict[str, Any]) -> Path:
    """The samples that a manifest's entry names, which lie beside it: a name that leads elsewhere is not followed."""
    folder, name = Path(entry["folder"]), entry["samples"]
    if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name or os.path.islink(folder / name):
        raise HwnasError(
            f"{folder / MANIFEST}: samples must be the name of a file beside it, got {str(name)[:100]!r}",
            hint="--samples FILE.npz",
        )
    return folder / name


def _refuse_whole_folder(folder: Path) -> None:
    """HwnasError that names what to verify in a run's export folder, or what a library of a foreign model lacks."""
    path = folder / MANIFEST
    held = read_json(path) if path.is_file() else {}
    if not isinstance(held, dict):
        return
    inside = [name for name in held if (folder / name).exists()]
    if inside:
        raise HwnasError(f"{folder} holds {len(inside)} exported files", hint=f"verify one: {folder / inside[0]}")
    if "agreement" in held:
        raise HwnasError(
            f"{folder} was compared with ONNX Runtime when it was exported, and no samples were left beside it",
            hint="give --samples FILE.npz of images, labels and expected outputs to compare it with more",
        )


def entry_of(artefact: Path) -> dict[str, Any]:
    """What a run's manifest says of a file or folder, found by name or by digest, beside it or inside it; or {}."""
    for folder in (artefact.resolve().parent, artefact.resolve()):
        path = folder / MANIFEST
        entries = read_json(path) if path.is_file() else {}
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if not isinstance(entry, dict) or not isinstance(entry.get("files"), dict):
                continue
            known = entry["files"]
            copied = artefact.is_file() and digest_file(artefact) in known.values()
            if name == artefact.name or artefact.name in known or copied:
                return {**entry, "folder": str(folder)}
    return {}
