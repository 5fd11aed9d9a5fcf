"""The wheel is complete: it works away from the checkout, and installs nothing but `hwnas` at top level."""

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


@pytest.mark.slow
def test_a_wheel_works_away_from_the_checkout(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(REPOSITORY / "hwnas", source / "hwnas", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("hwnas-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    top = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"hwnas"}, "PyPI has a `kernels` of its own: everything of ours lies under hwnas"
    shipped = [file.relative_to(source) for file in (source / "hwnas").rglob("*") if file.is_file()]
    missing = [str(file) for file in shipped if not (site / file).exists()]
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
