"""A sample of benchmarks/hostile.py: spoilt files are refused in one line, and nobody opens the canary."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = 25  # a kind; the benchmark takes 2,000 of each


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_spoilt_files_are_read_or_refused_in_one_line(repository: Path, tmp_path: Path) -> None:
    # A late answer is one that never comes: beside other jobs a test holds nobody to ten seconds.
    command = [sys.executable, str(repository / "benchmarks" / "hostile.py"), "--limit", "90", "--json"]
    done = subprocess.run(
        [*command, "--count", str(COUNT), "--readers", "1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr[-3000:]
    bars = {bar["bar"]: bar for bar in json.loads(done.stdout)["bars"]}
    assert [name for name, bar in bars.items() if bar["ok"] is False] == [], done.stderr[-3000:]
    tried = {name: bar["value"] for name, bar in bars.items() if name.endswith("files tried")}
    assert len(tried) == 10 and set(tried.values()) == {COUNT}
    refused = [bar["value"] for name, bar in bars.items() if "refused in one line" in name]
    assert min(refused) > COUNT / 3, "files that are read as if nothing were wrong were not spoilt"
