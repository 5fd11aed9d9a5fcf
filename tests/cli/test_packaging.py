"""The wheel is complete: it works away from the checkout, with kernels and devices inside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = ("hwnas", "kernels", "devices")


@pytest.mark.slow
def test_a_wheel_works_away_from_the_checkout(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    for name in SHIPPED:
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("hwnas-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    missing = [
        file.relative_to(REPOSITORY)
        for name in SHIPPED
        for file in (REPOSITORY / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and not (site / file.relative_to(REPOSITORY)).exists()
    ]
    assert not missing, f"package data in pyproject.toml misses {missing}"
    listed = subprocess.run(
        [sys.executable, "-c", "from hwnas.cli.main import entry; entry()", "devices", "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
    )
    assert "raspberry-pi-5" in {device["name"] for device in json.loads(listed.stdout)}
