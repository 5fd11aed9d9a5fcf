"""A skipped test is told in one line, and where tools are required it fails the run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import NOT_A_TOOL

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="node is not installed")
def test_interpreted(): pass
def test_imported(): pytest.importorskip("no_such_package")
def test_emulated(): pytest.skip("no linker or emulator for aarch64")
def test_linked(): pytest.skip("no qemu-arm on PATH")
def test_wide(): pytest.skip("this machine does not run x86-avx512")
@pytest.mark.long
def test_soak(): raise AssertionError("a long test ran")
def test_runs(): pass
"""


def run_pytest(folder: Path, *arguments: str, path: str | None = None, **environment: str) -> tuple[int, str]:
    """(exit code, output) of pytest on TESTS with this project's own conftest and settings."""
    repository = Path(__file__).resolve().parents[1]
    shutil.copy(repository / "tests" / "conftest.py", folder / "conftest.py")
    shutil.copy(repository / "pyproject.toml", folder / "pyproject.toml")
    (folder / "test_some.py").write_text(TESTS)
    (folder / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_package')\ndef test(): pass\n")
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "HWNAS_REQUIRE")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, "test_some.py"],
        cwd=folder, env={**inherited, **environment, **({"PATH": path} if path else {})},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_what_was_skipped_and_what_to_install_is_one_line(tmp_path: Path) -> None:
    code, printed = run_pytest(tmp_path, "test_whole.py", path="/nowhere")
    assert code == 0, printed
    (line,) = [line for line in printed.splitlines() if line.startswith("skipped: ")]
    packages = "gcc libc6-dev qemu-user qemu-system-arm nodejs chromium fonts-dejavu-core"
    assert f"5 for want of tools (apt-get install {packages})" in line
    assert "1 because this machine does not run x86-avx512" in line


@pytest.mark.parametrize("environment", [{"CI": "true"}, {"HWNAS_REQUIRE": "1"}])
def test_a_test_skipped_for_want_of_a_tool_fails_where_tools_are_required(
    environment: dict[str, str], tmp_path: Path
) -> None:
    code, printed = run_pytest(tmp_path, **environment)
    assert code == 1
    for reason in ("no linker or emulator for aarch64", "node is not installed", "could not import 'no_such_package'"):
        assert reason in printed
    assert "3 failed, 1 passed, 1 skipped, 1 deselected, 1 error" in printed, "what the machine cannot do stays a skip"


def test_a_whole_file_skipped_for_want_of_a_tool_ends_the_run_where_tools_are_required(tmp_path: Path) -> None:
    code, printed = run_pytest(tmp_path, "test_whole.py", CI="true")
    assert code == 2 and "test_whole.py: could not import 'no_such_package'" in printed


def test_every_reason_that_stays_a_skip_is_one_that_a_test_gives(repository: Path) -> None:
    """The list of what nobody can install holds no text that is said no more."""
    files = [path for path in (repository / "tests").rglob("*.py") if path.name != "test_skips.py"]
    said = "\n".join(path.read_text() for path in files).replace("\\.", ".")
    listed = re.split(r"[|()]+", NOT_A_TOOL.pattern.replace("\\S+", "").replace("\\.", "."))
    texts = {text.strip(" ^") for text in listed} - {"", "this machine", "got empty parameter set"}
    assert len(texts) > 8 and [text for text in texts if said.count(text) < 2] == []


@pytest.mark.parametrize("arguments", [(), ("-m", "not long")])
def test_long_tests_run_only_when_they_are_asked_for(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert run_pytest(tmp_path, *arguments)[0] == 0
    code, printed = run_pytest(tmp_path, "-m", "long")
    assert code == 1 and "a long test ran" in printed


def test_make_test_leaves_long_tests_out(repository: Path) -> None:
    assert '-m "not long"' in (repository / "Makefile").read_text()


def test_ci_fails_where_a_tool_cannot_be_had(repository: Path, tmp_path: Path) -> None:
    """With a PATH that has the shell's tools but no emulator, and no apt-get to fetch one, it ends before any test."""
    for tool in ("bash", "dirname", "tr", "sort", "mktemp", "rm"):
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    done = subprocess.run(
        [str(tmp_path / "bash"), str(repository / ".ci" / "run")],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "required and not to be had" in done.stderr and "qemu-aarch64" in done.stderr, done.stderr
