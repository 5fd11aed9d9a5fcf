"""Two trees side by side: this working tree and a commit out of git's history, each run by its own code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from fnmatch import fnmatch
from pathlib import Path

import onnx
import yaml

from tests.equality.differences import Difference, differences
from tests.equality.meant import MEANT
from tests.native import nets

REPOSITORY = Path(__file__).resolve().parents[2]
SIDE = "tests/equality/side.py"
SHIPS = ("hwnas", "kernels", "devices", "examples/quickstart.yaml")  # what decides what ships
TARGETS = ("host", "aarch64", "armv7-neon", "cortex-m4", "riscv64", "wasm32-simd128")
MODELS = (nets.int8_net, nets.squeeze_excite_int8_net, nets.fp32_net, nets.bi_real_net, nets.binary_stream_net)
SIDE_SECONDS = 900

# The quickstart, made small: every precision, both engines, short training.
SMALL = {
    "device": "null",
    "tables": "tables",
    "space": {
        "use": "resnet_binary", "resolutions": [8], "stem_width": 8, "stem_stride": 2, "widths": [[8, 16]],
        "depths": [1, 2], "strides": [2], "kernels": [3, 5], "precisions": ["fp32", "int8", "w1a1"],
    },
    "limits": {"latency_us": 1000.0},
    "card": {"fit": 6, "test": 6},
}  # fmt: skip
RUNS = ("quickstart", "mobile")
MIXED = {"precision": "mixed", "engine": "tvm"}
# The other space: depthwise convolutions, squeeze-excite, hard swish, and raw images in.
MOBILE = {
    "use": "mobile", "resolutions": [8, 12], "stem_width": 8, "stem_stride": 1, "widths": [[8, 16]], "depths": [1, 2],
    "strides": [2], "kernels": [3], "expansions": [2], "squeeze_excite": [True],
    "precisions": ["fp32", "int8"], "activations": ["hswish"],
}  # fmt: skip


def git(*arguments: str) -> str | None:
    """What git says, or None where there is no git, no history or no such commit."""
    try:
        told = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return told.stdout.strip() if told.returncode == 0 else None


def base_commit(named: str | None) -> str | None:
    """The full name of the commit to compare with: HEAD's first parent where none is named; None without history."""
    if git("rev-parse", "--show-toplevel") != str(REPOSITORY):
        return None  # an unpacked archive that lies inside somebody else's repository
    return git("rev-parse", "--verify", "--quiet", f"{named or 'HEAD^'}^{{commit}}")


def same_sources(base: str) -> bool:
    """Whether nothing that decides what ships differs from the base, untracked files included."""
    untracked = git("status", "--porcelain", "--untracked-files=all", "--", *SHIPS)
    return untracked == "" and git("diff", "--quiet", base, "--", *SHIPS) is not None


def compare(base: str, folder: Path) -> list[Difference]:
    """All differences but the meant ones, after both trees did the same work under `folder`."""
    tree = unpacked(base, folder / "base-tree")
    models = folder / "models"
    models.mkdir()
    for net in MODELS:
        onnx.save(net(), models / f"{net.__name__}.onnx")
    works = [folder / "base", folder / "here"]
    started = [started_side(code, work, models) for code, work in zip((tree, REPOSITORY), works, strict=True)]
    for process, work in zip(started, works, strict=True):
        told = process.communicate(timeout=SIDE_SECONDS)[1]
        if process.returncode:
            raise RuntimeError(f"the side of {work.name} failed:\n{told[-4000:]}")
    for name in RUNS:
        if not (works[0] / "runs" / name / "results.json").exists():
            log = (works[0] / f"{name}.log").read_text()
            raise RuntimeError(
                f"the base's run {name} ended without results, so that nothing is compared:\n{log[-4000:]}"
            )
    meant = [one.places for one in MEANT if one.commit not in (git("log", "--format=%s", base) or "").splitlines()]
    return [one for one in differences(*works) if not any(fnmatch(one[0], pattern) for pattern in meant)]


def unpacked(commit: str, folder: Path) -> Path:
    """The commit's files, in a folder of their own."""
    archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="tar")
    return folder


def started_side(tree: Path, work: Path, models: Path) -> subprocess.Popen[str]:
    """The work of one tree, begun: with its own code, its own caches and one thread."""
    work.mkdir()
    quick = yaml.safe_load((REPOSITORY / "examples" / "quickstart.yaml").read_text())
    train = {**quick["train"], "epochs": 2, "finetune_epochs": 1, "batch_size": 256}
    small = {**quick, **SMALL, "train": train, "search": {**quick["search"], "budget": 8, "recalibration_images": 64}}
    plain = {"epochs": 1, "batch_size": 256, "threads": 1, "finetune_epochs": 0}
    runs = {
        RUNS[0]: {**small, "targets": [*quick["targets"], MIXED]},
        RUNS[1]: {
            **small, "name": RUNS[1], "space": MOBILE, "train": plain, "preprocess": "inside",
            "targets": [{"precision": "int8", "engine": "tvm"}],
        },
    }  # fmt: skip
    for name, settings in runs.items():
        (work / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    (work / "job.json").write_text(json.dumps({"runs": RUNS, "targets": TARGETS, "models": str(models)}))
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(work / "cache"),
        "HWNAS_CACHE": str(work / "cache" / "images"),
    }
    return subprocess.Popen(
        [sys.executable, str(side_of(tree, work)), str(work)],
        cwd=work, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def side_of(tree: Path, work: Path) -> Path:
    """The tree's own side; for one older than that file its first version, which knew the interfaces of then."""
    if (tree / SIDE).is_file():
        return tree / SIDE
    added = (git("log", "--diff-filter=A", "--format=%H", "--", SIDE) or "").split()
    text = git("show", f"{added[-1]}:{SIDE}") if added else None
    first = work / "side.py"
    first.write_text(text if text is not None else (REPOSITORY / SIDE).read_text())
    return first
