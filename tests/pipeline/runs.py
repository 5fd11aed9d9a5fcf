"""Tiny runs on the null device, in this process or in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

SETTINGS: dict[str, Any] = {
    "name": "tiny",
    "device": "null",
    "data": {"use": "digits"},
    "space": {
        "use": "resnet_binary", "resolutions": [8], "stem_width": 8, "stem_stride": 2, "widths": [[8, 16]],
        "depths": [1, 2], "strides": [2], "kernels": [3, 5],
    },
    "train": {"epochs": 3, "batch_size": 256, "rule": {"use": "rule.single_path:SinglePath"}},
    "search": {"budget": 6, "sampler": {"use": "search.random_search"}, "recalibration_images": 64},
    "limits": {"latency_us": 1000.0},
    "targets": [{"precision": "int8", "engine": "onnxruntime"}],
}  # fmt: skip


def run_file(folder: Path, **changes: Any) -> Path:
    """A run file in `folder` whose tables and runs are in `folder` too."""
    settings = {**SETTINGS, "tables": str(folder / "tables"), "out": str(folder / "runs"), **changes}
    path = folder / "tiny.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
    return path


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """`hwnas <arguments>` in a process of its own."""
    repository = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(repository)}  # threads as here: their number decides the last bits
    command = [sys.executable, "-m", "hwnas", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def picks(folder: Path) -> dict[str, Any]:
    """Every pick of the tiny run, by file name."""
    return {path.name: json.loads(path.read_text()) for path in sorted((folder / "runs" / "tiny").glob("pick-*.json"))}
