"""What every test shares: one thread, the tiny end-to-end test first, the shared data where there is any, and one
line at the end that says what was skipped and what to install. In continuous integration (CI=true, or HWNAS_REQUIRE=1)
a test that was skipped is a failure unless nobody could install what it lacks: an install that failed must not look
like a green run."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from hwnas import find

_CACHE = tempfile.TemporaryDirectory(prefix="hwnas-test-cache-")  # decoded images of tests are nobody's
os.environ["HWNAS_CACHE"] = _CACHE.name

REPOSITORY = Path(__file__).resolve().parents[1]

# Tool -> the Debian package that has it.
TOOLS = {
    "cc": "gcc libc6-dev",
    "qemu-aarch64": "qemu-user",
    "qemu-arm": "qemu-user",
    "qemu-riscv64": "qemu-user",
    "qemu-system-arm": "qemu-system-arm",
    "node": "nodejs",
    "chromium": "chromium fonts-dejavu-core",
}
# How tests say what nobody can install: what the machine, its user or the checkout is, or that a case is none. Every
# other reason stands for a tool that is missing, however it is put, so that a new text cannot pass unseen.
NOT_A_TOOL = re.compile(
    r"^(this machine('s family has one target| does not run )|elsewhere the default is this machine"
    r"|the newest x86 instructions are looked for|mounting a small disk takes root|no tmpfs can be mounted here"
    r"|root writes everywhere|the run ended before the signal came|\S+ is replayed from its seed"
    r"|no git history here|no \.\./shared/data beside this checkout|got empty parameter set)"
)


def missing_packages() -> list[str]:
    """What to install so that every test runs, as apt-get and pip name it."""
    found = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    return [*dict.fromkeys(" ".join(found).split()), *(["hwnas[cross]"] if find_spec("ziglang") is None else [])]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole pipeline on the null device runs first: when it breaks, nothing else is worth reading."""
    items.sort(key=lambda item: not item.path.name.startswith("test_pipeline"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Where tools are required, a test that was skipped for want of one fails."""
    report: pytest.TestReport = yield
    return _required(report, item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """The same of a file that skips itself as a whole."""
    report: pytest.CollectReport = yield
    return _required(report, collector.nodeid)


def _required(report: Any, name: str) -> Any:
    required = os.environ.get("CI") == "true" or os.environ.get("HWNAS_REQUIRE") == "1"
    if report.skipped and required and not NOT_A_TOOL.search(reason_of(report)):
        reason = reason_of(report)
        report.outcome = "failed"
        report.longrepr = f"{name}: {reason}: required here (CI or HWNAS_REQUIRE is set)"
    return report


def reason_of(report: Any) -> str:
    """Why a test, or a file of tests, was skipped."""
    told = report.longrepr
    return str(told[2] if isinstance(told, tuple) else told).removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line: how many tests were skipped, why, and what to install."""
    reasons = Counter(reason_of(report) for report in terminalreporter.stats.get("skipped", []))
    tools = sum(count for reason, count in reasons.items() if not NOT_A_TOOL.search(reason))
    parts = [f"{count} because {reason}" for reason, count in reasons.items() if NOT_A_TOOL.search(reason)]
    if tools:
        apt = " ".join(package for package in missing_packages() if "[" not in package)
        pip = " ".join(package for package in missing_packages() if "[" in package)
        install = " and ".join(
            [f"apt-get install {apt}"] * bool(apt) + [f"pip install '{pip}'"] * bool(pip) or ["see the reasons: -rs"]
        )
        parts.insert(0, f"{tools} for want of tools ({install})")
    if parts:
        terminalreporter.write_line(f"skipped: {'; '.join(parts)}")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's top folder."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """`../shared/data` beside the checkout; the test is skipped with the reason where there is none."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return folder


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an empty package outside hwnas that HWNAS_PLUGINS lists: a test writes files into its axes."""
    package = tmp_path / "elsewhere" / f"outside_{abs(hash(tmp_path))}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv(find.ENVIRONMENT, package.name)
    _forget(package.name)
    yield package
    _forget(package.name)


def _forget(package: str) -> None:
    """What the finder remembers of folders, which do not change while a program runs, and what was imported."""
    find._folder.cache_clear()
    find._places.cache_clear()
    find._is_thing.cache_clear()
    if package in find._activated:
        find._activated.remove(package)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
