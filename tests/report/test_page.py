"""The page: whole, closed against names from outside, and written by the verb where nobody else's file stands."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hwnas.cli.main import main
from hwnas.errors import HwnasError
from hwnas.report.page import page, write_page
from hwnas.report.plots import MAX_DOTS, Axis, drawn_share, pareto_plot
from hwnas.report.results import Trial

from .samples import TWIN, WINNER, results_with


class _Page(HTMLParser):
    """Collects what a page would fetch, and checks that every element is closed in turn."""

    VOID = frozenset(("meta", "br", "line", "rect", "circle", "path"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "xlink:href")]
        self.fetched += [tag] if tag in ("link", "script", "iframe", "img") else []
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def test_the_page_is_whole_and_fetches_nothing() -> None:
    text = page(results_with(WINNER, TWIN))
    parser = _Page()
    parser.feed(text)
    assert parser.open == [] and parser.fetched == []
    assert "url(" not in text and "@import" not in text and "http" not in text


def test_names_from_outside_cannot_break_the_page() -> None:
    hostile = "<script>alert(1)</script>\"'&"
    results = results_with(replace(WINNER, verified=hostile, file=hostile), run=hostile, notes=(hostile,))
    parser = _Page()
    parser.feed(page(results))
    assert parser.open == [] and parser.fetched == []


def test_results_without_any_target_still_make_a_page() -> None:
    text = page(results_with(targets=(), cards={}, seconds={}))
    assert "<svg" not in text and "Provenance" in text


def test_the_plot_shows_limit_front_and_every_exported_file() -> None:
    plot = pareto_plot(results_with(WINNER, TWIN))
    assert plot.count('class="pick') == 1 and plot.count('class="twin') == 1
    assert "limit 60.0 us" in plot and 'class="front' in plot


def test_a_plot_of_many_trials_is_thinned_and_says_so() -> None:
    results = results_with(WINNER)
    many = tuple(Trial(0.9 + i * 1e-6, {"latency": 30.0 + i * 1e-3}, "int8") for i in range(MAX_DOTS * 2))
    results = replace(results, targets=(replace(results.targets[0], trials=many),))
    assert pareto_plot(results).count("<circle") < MAX_DOTS + 10
    assert "every k-th is drawn" in drawn_share(results)


@pytest.mark.parametrize(("low", "high", "log"), [(0.0, 7.3, False), (12.0, 13.0, False), (20.0, 900.0, True)])
def test_ticks_are_round_and_inside_the_axis(low: float, high: float, log: bool) -> None:
    axis = Axis(low, high, 0.0, 100.0, log)
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 9
    assert all(low <= tick <= high and 0 <= axis(tick) <= 100 for tick in ticks)


def test_the_report_verb_writes_the_page_and_prints_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results_with(WINNER, TWIN).save(tmp_path / "results.json")
    assert main(["report", str(tmp_path)]) == 0
    assert "onnxruntime" in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_the_report_verb_prints_only_json_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results_with(WINNER, TWIN).save(tmp_path / "results.json")
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "other.html"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["run"] == "tiny" and printed["report"].endswith("other.html")
    assert (tmp_path / "other.html").is_file()


def test_a_folder_without_results_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "results.json does not exist" in capsys.readouterr().err


def test_a_page_of_the_users_own_is_not_written_over(tmp_path: Path) -> None:
    """`hwnas report --out` once replaced any file."""
    theirs = tmp_path / "index.html"
    theirs.write_text('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<title>Mine</title>')
    with pytest.raises(HwnasError, match="is no report"):
        write_page(results_with(WINNER, TWIN), theirs)
    assert "Mine" in theirs.read_text()
    for _ in range(2):
        write_page(results_with(WINNER, TWIN), tmp_path / "report.html")
