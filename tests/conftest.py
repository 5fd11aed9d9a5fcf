"""What every test shares: one thread, the tiny end-to-end test first, and the shared data where there is any."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

_CACHE = tempfile.TemporaryDirectory(prefix="hwnas-test-cache-")  # decoded images of tests are nobody's
os.environ["HWNAS_CACHE"] = _CACHE.name

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole pipeline on the null device runs first: when it breaks, nothing else is worth reading."""
    items.sort(key=lambda item: not item.path.name.startswith("test_pipeline"))


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
