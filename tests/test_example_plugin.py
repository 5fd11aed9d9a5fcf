"""examples/plugin, a package outside hwnas, passes its own tests, and hwnas finds what it adds where it is listed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ADDED = ("methods:search.hill_climbing", "formats:int6", "ops:softsign", "blocks:conv_softsign", "spaces:softsign_net")


def python(*arguments: str, cwd: Path, repository: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process that has hwnas and the example on its path, as if both were installed."""
    path = os.pathsep.join([str(repository), str(repository / "examples" / "plugin")])
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_its_own_tests_pass_a_run_file_among_them(repository: Path) -> None:
    folder = repository / "examples" / "plugin"
    done = python("-m", "pytest", "-p", "no:cacheprovider", "tests", cwd=folder, repository=repository)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_what_it_adds_is_there_where_it_is_listed_and_nowhere_else(repository: Path, tmp_path: Path) -> None:
    script = f"from hwnas import find\nprint([find.has(*t.split(':')) for t in {ADDED}])"
    alone = python("-c", script, cwd=tmp_path, repository=repository)
    listed = python("-c", script, cwd=tmp_path, repository=repository, HWNAS_PLUGINS="hwnas_example")
    assert alone.stdout.strip() == str([False] * len(ADDED)), alone.stderr
    assert listed.stdout.strip() == str([True] * len(ADDED)), listed.stderr


def test_hwnas_methods_shows_its_sampler(repository: Path, tmp_path: Path) -> None:
    shown = python("-m", "hwnas", "methods", cwd=tmp_path, repository=repository, HWNAS_PLUGINS="hwnas_example")
    assert "hill_climbing" in shown.stdout, shown.stdout + shown.stderr


def test_its_readme_names_every_file_that_adds_something(repository: Path) -> None:
    package = repository / "examples" / "plugin" / "hwnas_example"
    text = (repository / "examples" / "plugin" / "README.md").read_text()
    files = {path.relative_to(package).as_posix() for path in package.rglob("*.py")} - {"__init__.py"}
    assert files == {file for file in files if f"`{file}`" in text} and len(text.splitlines()) <= 32
