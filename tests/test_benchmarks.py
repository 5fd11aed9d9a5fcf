"""A benchmark's row says what it is: kept, missed, not run, or without a bar."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """bars.py and run_all.py, imported as the benchmarks import them: from their own folder."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return {name: importlib.import_module(name) for name in ("bars", "run_all")}


def test_only_a_bar_that_was_tried_and_kept_is_a_yes(benchmark: dict[str, ModuleType]) -> None:
    bars = benchmark["bars"]
    rows = [
        bars.Bar("kept", 1.0, 2.0, "at most"),
        bars.Bar("missed", 3.0, 2.0, "at most"),
        bars.Bar("shown", 3.0),
        bars.not_run("absent", "no OpenVINO", 2.0),
    ]
    assert [bars.verdict(row.record()) for row in rows] == ["yes", "NO", "no bar", "not run: no OpenVINO"]
    assert bars.counts([row.record() for row in rows]) == "1 bars kept, 1 missed, 1 not run, 1 without a bar"


def test_a_missing_peer_is_a_row_and_no_failure(
    benchmark: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    bars = benchmark["bars"]
    assert bars.report("b", [bars.not_run("time over a peer's", "no peer")], True, {"other": "1.2"}) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["peers"] == {"other": "1.2"}
    (row,) = printed["bars"]
    assert row["value"] is None and row["ok"] is None and row["note"] == "not run: no peer"
    assert bars.report("b", [bars.Bar("x", 1.0, 2.0)], True) == 1


def test_the_page_shows_what_was_not_run_and_names_the_peers(benchmark: dict[str, ModuleType]) -> None:
    bars, run_all = benchmark["bars"], benchmark["run_all"]
    rows = [bars.not_run("time", "no peer", 0.85, "at most").record(), bars.Bar("shown", 3.0).record()]
    page = run_all.markdown([run_all.Outcome("binary_conv", 1.0, "a machine", rows, {"openvino": "2026.1"})])
    assert "| time |  | at most 0.85 | not run: no peer |" in page
    assert "| shown | 3 |  | no bar |" in page
    assert "Beside openvino 2026.1." in page
    assert "Zen 4" in page and "0.88 and 0.90" in page
