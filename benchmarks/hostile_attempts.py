"""What benchmarks/hostile.py does with a spoilt file: what a person would do with a stranger's file of that kind.

Each attempt goes through the frame of the command line, so that its answer is an exit code and lines on standard error.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import stat
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hostile_bases import STAGE, STAGE_IDENTITY, good_files, kept_stage  # type: ignore[import-not-found]  # the file beside this one
from hostile_models import spoil_checkpoint, spoil_onnx  # type: ignore[import-not-found]
from hostile_mutations import LINK, spoil_bytes, spoil_csv, spoil_json, spoil_yaml  # type: ignore[import-not-found]

from hwnas.cli import main as frame
from hwnas.errors import HwnasError
from hwnas.export import verify as verifying

SPOILING_CALLS = 50_000  # writing what is nested deeper than a reader's calls needs more of them than it has
SPECIAL = 0.02  # of all files: no file of bytes at all, but a folder, a pipe, a device, or nothing


def spoil(kind: str, number: int, seed: int, bases: Path, case: Path, canary: Path) -> Path:
    """Writes spoilt file `number` of a kind into the empty folder `case`; the path to try. Numbers below 0 are the good
    files themselves, -1 the first."""
    rng = random.Random(f"{seed}:{kind}:{number}")
    bases_of_kind = good_files(bases, kind)
    (case / f"{LINK}.py").symlink_to(canary / "evil.py")
    (case / "link").symlink_to(canary)
    (case / "linked.bin").symlink_to(canary / "secret.bin")
    base = bases_of_kind[-1 - number] if number < 0 else rng.choice(bases_of_kind)
    if base.is_dir():
        shutil.copytree(base, case / base.name)
        tried = case / base.name
        path = tried / "manifest.json"
    else:
        path = tried = case / f"spoilt{base.suffix}"
    data = (base / "manifest.json" if base.is_dir() else base).read_bytes()
    path.unlink(missing_ok=True)
    if number < 0:
        path.write_bytes(data)
    elif rng.random() < SPECIAL:
        _put_no_file(rng, path)
    else:
        calls = sys.getrecursionlimit()
        sys.setrecursionlimit(SPOILING_CALLS)
        try:
            path.write_bytes(_spoilt(rng, kind, data, canary))
        finally:
            sys.setrecursionlimit(calls)
    return tried


def _spoilt(rng: random.Random, kind: str, data: bytes, canary: Path) -> bytes:
    if kind == "onnx":
        return bytes(spoil_onnx(rng, data, str(canary)))
    if kind == "checkpoint":
        return bytes(spoil_checkpoint(rng, data, str(canary)))
    by_kind = {"run": spoil_yaml, "profile": spoil_yaml, "table": spoil_csv}
    return bytes(by_kind.get(kind, spoil_json)(rng, data)) if rng.random() > 0.05 else bytes(spoil_bytes(rng, data))


def _put_no_file(rng: random.Random, path: Path) -> None:
    choice = rng.randrange(5)
    if choice == 0:
        path.mkdir()
    elif choice == 1:
        os.mkfifo(path)
    elif choice == 2:
        path.symlink_to("/dev/zero")
    elif choice == 3:
        path.symlink_to(path.name)  # a link to itself
    else:
        path.write_bytes(b"")


# -- one attempt a kind ------------------------------------------------------------------------------------------


def try_onnx(path: Path) -> None:
    """Up to the plan of its library: read, fused, kernels chosen, memory placed; nothing is compiled."""
    from hwnas.export.native.compile import plan_model
    from hwnas.kernels.target import parse_target

    plan_model(path, parse_target("x86-avx2"))


def try_run(path: Path) -> None:
    """Checked, not run: every key, every name it gives, and the space that it describes."""
    from hwnas.data import Examples, Raw
    from hwnas.pipeline.config import read_run_file
    from hwnas.plug import bind, resolve
    from hwnas.protocols import Batches, Sampler, TrainingRule
    from hwnas.space import SearchSpace

    config = read_run_file(path)
    resolve(config.data.get("use", ""), "data.sources", config.trust, (Raw, tuple, Examples, Batches))
    resolve(config.train.rule.get("use", "rule.sandwich"), "methods", config.trust, (TrainingRule,))
    resolve(config.search.sampler.get("use", "search.nsga2"), "methods", config.trust, (Sampler,))
    settings = dict(config.space)
    use = settings.pop("use", "")
    facts = {"in_channels": 1, "classes": 10, "samples": 8000, "rate": 8000, "vocabulary": 2000, "length": 24}
    given = {name: value for name, value in facts.items() if name not in settings}
    bind(resolve(use, "spaces", config.trust, (SearchSpace,)), settings, given, "space")


def try_table(path: Path) -> None:
    """Every row read, priced, and expanded into its layers."""
    from hwnas.ops import macs
    from hwnas.table import LatencyTable, latency_cost

    table = LatencyTable(path)
    of = latency_cost([table]).of
    for operator, row in table.rows.items():
        if row.ok:
            float(of(operator))
        with contextlib.suppress(HwnasError):  # a stranger's block is a key: no file of that name is imported
            macs(operator)


def try_card(path: Path) -> None:
    """Every grade it holds."""
    from hwnas.card import read_card
    from hwnas.fidelity import read_grade

    networks = read_card(path).get("networks", {})
    for key, entry in networks.items() if isinstance(networks, dict) else ():
        read_grade(entry, f"{path}: {key}").require_quiet()


def try_manifest(folder: Path) -> None:
    """A native artefact is loaded and called."""
    from hwnas import load_native

    model = load_native(folder)
    shape = getattr(model, "input_shape", (1, 1, 8, 8))
    model(np.zeros((1, *shape[1:]), np.float32))


@cache
def _net() -> Any:
    """The supernet whose checkpoint is spoilt."""
    from hwnas.spaces.resnet_binary import resnet_binary
    from hwnas.supernet import WeightSharing

    options: dict[str, Any] = {"resolutions": [8], "stem_width": 8, "stem_stride": 2, "widths": [[8, 16]]}
    return WeightSharing(resnet_binary(1, 10, **options, depths=[1, 2], strides=[2]), 3)


def try_checkpoint(path: Path) -> None:
    """Loaded into the net it is of."""
    from hwnas.train import load_state, take_up

    take_up(_net(), load_state(path), path)


def try_kept(path: Path) -> None:
    """Read as a finished stage of a run."""
    place = path.parent / "tiny" / f"{STAGE}.json"
    place.parent.mkdir()
    path.rename(place)
    kept_stage(path.parent).kept(STAGE, STAGE_IDENTITY)


def try_tiles(path: Path) -> None:
    from hwnas.export.native.tiles import TileTable

    TileTable(path, "x86-avx2")


def verb_for(kind: str, path: Path) -> list[str] | None:
    """The command line that reads this file, where one does no more than that."""
    if kind == "profile":
        return ["devices", "show", str(path)]
    if kind == "results":
        return ["report", str(path), "--out", str(path.with_name("page.html"))]
    if kind == "manifest" and path.name == "export":
        return ["verify", str(next(path.glob("model.int8.onnx")))]
    return None


ATTEMPTS: dict[str, Callable[[Path], None]] = {
    "onnx": try_onnx, "run": try_run, "table": try_table, "card": try_card, "manifest": try_manifest,
    "checkpoint": try_checkpoint, "kept": try_kept, "tiles": try_tiles,
}  # fmt: skip


def warm_up() -> None:
    """Loads what the attempts load: the first of a kind must not pay for it within its ten seconds."""
    import torch

    from hwnas.export.native.compile import plan_model
    from hwnas.kernels import int8_conv
    from hwnas.kernels.target import parse_target

    torch.set_num_threads(1)
    assert (plan_model, int8_conv) and parse_target("x86-avx2")
    _net()


def not_run(artifact: Path, inputs: Any) -> tuple[str, dict[str, Any]]:
    """Stands for the process that `verify` starts: a spoilt export is read, its model is not run two thousand times."""
    raise HwnasError("read; the model is not run here")


def attempt(kind: str, path: Path, good: bool) -> tuple[int, str]:
    """(exit code, standard error) of trying one file; a good one is tried to the end."""
    said = io.StringIO()
    if not good:
        verifying._run_fresh = not_run
    dispatch, verb = frame._dispatch, verb_for(kind, path)

    def direct(arguments: list[str]) -> int:
        ATTEMPTS[kind](path)
        return 0

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            if verb is None:
                frame._dispatch = direct
            code = frame.main(verb or [kind])
    finally:
        frame._dispatch = dispatch
    return code, said.getvalue()


def verdict(code: int, said: str) -> str:
    """`read`, `refused` (one line and exit 2, or 1 for a check that failed), or `raw` with what came instead."""
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if code == 0:
        return "read"
    if code in (1, 2) and len(errors) == 1 and "Traceback" not in said:
        return f"refused: {errors[0]}"
    return f"raw: exit {code}: {' | '.join(lines)[-600:]}"


def empty(folder: Path) -> None:
    """Removes the files of a case, links unfollowed."""
    if folder.exists() and not stat.S_ISLNK(folder.lstat().st_mode):
        shutil.rmtree(folder)
    folder.mkdir()
