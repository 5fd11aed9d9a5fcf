"""One folder of compiled kernels for all native tests of a session."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compile_onnx keeps object files between the tests."""
    return tmp_path_factory.mktemp("kernels")
