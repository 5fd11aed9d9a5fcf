"""A benchmark's row says what it is: kept, missed, not run, or without a bar."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """bars.py, inhabitants.py and run_all.py, imported as the benchmarks import them: from their own folder."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return {name: importlib.import_module(name) for name in ("bars", "inhabitants", "run_all")}


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


def test_an_interval_over_seeds_is_students(benchmark: dict[str, ModuleType]) -> None:
    shared = benchmark["inhabitants"]
    assert shared.interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 4.303 / 3**0.5))
    assert shared.interval([0.0, 2.0] * 3)[1] == pytest.approx(2.571 * (6 / 5) ** 0.5 / 6**0.5)
    assert shared.shown([4.0]) == "4.00 (one seed)"
    widths = [shared.interval([0.0, 1.0] * half)[1] for half in range(1, 9)]
    assert widths == sorted(widths, reverse=True), "more seeds of the same spread never say less"


def test_a_side_wins_only_beyond_the_interval_of_its_gains(benchmark: dict[str, ModuleType]) -> None:
    shared = benchmark["inhabitants"]
    assert shared.told(*shared.interval([1.0, 1.0, 1.1])) == "beats"
    assert shared.told(*shared.interval([-1.0, -1.0, -1.1]), plural=True) == "are beaten by"
    assert shared.told(*shared.interval([-1.0, 1.0, 0.5])) == "is not told apart from"
    assert shared.told(*shared.interval([1.0])) == "is not told apart from", "one seed says nothing"


def test_figures_of_other_settings_are_made_anew(benchmark: dict[str, ModuleType], tmp_path: Path) -> None:
    shared, file, made = benchmark["inhabitants"], tmp_path / "runs" / "figures.json", []

    def one(seed: int, own: dict[str, int], keep: Callable[[], None]) -> None:
        made.append(seed)
        own["x"] = seed
        keep()

    first = shared.kept_figures(file, "a", 11, ("x",), one)
    assert [own["x"] for own in shared.whole_seeds(first, ("x",))] == list(range(11)), "in the order of their numbers"
    assert shared.kept_figures(file, "a", 11, ("x",), one) == first and len(made) == 11
    shared.kept_figures(file, "b", 1, ("x",), one)
    assert len(made) == 12 and shared.whole_seeds(first, ("x", "y")) == []


def test_a_section_takes_the_place_of_its_older_one_alone(
    benchmark: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = benchmark["inhabitants"]
    monkeypatch.setattr(shared, "PAGE", tmp_path / "page.md")
    for heading, text in (("## A", "one"), ("## B", "two"), ("## A", "three \\1")):
        shared.write_section(heading, f"{heading}\n\n{text}\n")
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# Inhabitants\n") and "one" not in page
    assert page.endswith("## A\n\nthree \\1\n\n## B\n\ntwo\n")
