"""The two reports are drawn from results.json alone, and say plainly what went wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from hwnas.cli.main import main
from hwnas.confidence import wilson
from hwnas.errors import HwnasError
from hwnas.report.findings import breaches, findings, limit_verdict, speed_up
from hwnas.report.latest import with_latest
from hwnas.report.page import page, write_page
from hwnas.report.plots import MAX_DOTS, Axis, drawn_share, pareto_plot
from hwnas.report.results import (
    Block,
    Card,
    Dataset,
    Device,
    FrontPoint,
    Limit,
    Results,
    Row,
    Ship,
    Target,
    Trial,
    load_results,
)
from hwnas.report.terminal import print_results

from .samples import finished

WINNER = Row(
    "int8", "onnxruntime", "winner", 0.98, 48.0, 50.0, 51.0, 60.0, 4096, 900, None, True, "bit-exact", "m.int8.onnx"
)
TWIN = replace(WINNER, precision="fp32", role="fp32 twin", accuracy=0.985, measured_us=100.0, limit_ok=None)


def results_with(*rows: Row, **changes: object) -> Results:
    target = Target(
        precision="int8",
        engine="onnxruntime",
        architecture={"resolution": 16, "s0.depth": 2, "s0.b0.kernel": 3},
        blocks=(Block("stem", "conv_bn_act/int8 (1, 16, 16) -> (8, 16, 16)", "int8", 10.0, 25.0),),
        rows=rows,
        front=(FrontPoint(0.97, {"latency": 40.0}, {"resolution": 16}),),
        trials=(Trial(0.97, {"latency": 40.0}, "int8"), Trial(0.90, {"latency": 30.0}, "int8")),
    )
    results = Results(
        run="tiny",
        device=Device("null", "made up", "0123456789abcdef"),
        dataset=Dataset("digits", 10, (1, 16, 16), 1200, 250, 347),
        limits=(Limit("latency", "us", 60.0),),
        targets=(target,),
        cards={"onnxruntime-int8": Card(0.02, 1.0, 0.99, 0.01, 0.05, 0.95, 20)},
        seconds={"measure": 1.0, "train": 3.0},
    )
    return replace(results, **changes)  # type: ignore[arg-type]


def terminal(results: Results) -> str:
    stream = StringIO()
    print_results(results, Console(file=stream, width=200, markup=False, highlight=False))
    return stream.getvalue()


def texts(results: Results, ok: bool) -> str:
    return "\n".join(finding.text for finding in findings(results) if finding.ok is ok)


def test_results_come_back_from_json_as_they_went_in(tmp_path: Path) -> None:
    results = results_with(WINNER, TWIN)
    results.save(tmp_path / "results.json")
    assert load_results(tmp_path) == results
    assert load_results(tmp_path / "results.json") == results


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("format", 99, "must be results of format 1 or 2, got 99"),
        ("limits", "none", "limits"),
        ("targets", [{"precision": "int8"}], r"targets\.0"),
    ],
)
def test_a_results_file_that_is_not_one_is_refused_by_name_and_key(
    key: str, value: object, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    results_with(WINNER).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(HwnasError, match=words):
        load_results(path)


def test_a_truncated_results_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results_with(WINNER).save(path)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(HwnasError, match="not readable JSON"):
        load_results(path)


def test_the_speed_up_is_over_the_fastest_twin_of_any_engine() -> None:
    slow = replace(TWIN, engine="tvm", measured_us=400.0)
    target = results_with(WINNER, TWIN, slow).targets[0]
    assert speed_up(target, WINNER) == pytest.approx(2.0)
    assert speed_up(target, TWIN) is None


def test_a_low_bit_network_that_is_not_faster_than_fp32_is_said_to_be_so() -> None:
    results = results_with(replace(WINNER, measured_us=120.0), TWIN)
    said = "int8 on onnxruntime: NOT faster than its fastest fp32 twin (120.0 us against 100.0 us on onnxruntime)"
    assert said in texts(results, ok=False)
    assert said in terminal(results) and said in page(results)


def test_an_exceeded_limit_says_by_how_much() -> None:
    row = replace(WINNER, measured_us=66.0, limit_ok=False)
    assert limit_verdict(row, (Limit("latency", "us", 60.0),)) == "latency over by 6.0 us (+10.0%)"
    assert limit_verdict(row, (Limit("latency", "ms", 0.06),)) == "latency over by 6.0 us (+10.0%)"
    assert "latency over by 6.0 us (+10.0%)" in terminal(results_with(row, TWIN))


def test_a_kept_limit_is_reported_as_kept() -> None:
    assert "within its limit (latency <= 60.0 us)" in texts(results_with(WINNER, TWIN), ok=True)


def test_int8_that_loses_more_than_a_point_is_called_out() -> None:
    assert "within 1 point of" in texts(results_with(WINNER, TWIN), ok=True)
    assert "more than 1 point below" in texts(results_with(replace(WINNER, accuracy=0.96), TWIN), ok=False)


def test_a_binary_network_is_compared_with_a_linear_classifier() -> None:
    binary = replace(WINNER, precision="w1a1", accuracy=0.90)
    assert "NOT above a linear classifier's 95.00%" in texts(
        results_with(binary, linear_baseline_accuracy=0.95), ok=False
    )
    assert "above a linear classifier's 80.00%" in texts(results_with(binary, linear_baseline_accuracy=0.80), ok=True)


def test_a_noisy_table_is_called_out() -> None:
    noisy = Card(0.02, 1.0, 0.99, 0.2, 0.05, 0.95, 20)
    assert "repeats itself only to 20.0%" in texts(results_with(WINNER, cards={"onnxruntime-int8": noisy}), ok=False)


def test_the_terminal_table_holds_every_exported_file() -> None:
    shown = terminal(results_with(WINNER, TWIN))
    for words in ("98.00%", "98.50%", "48.0 us", "50.0 us", "100.0 us", "4.0 KiB", "2.00x", "0.990"):
        assert words in shown


def test_the_speed_up_names_the_engine_of_the_fastest_twin() -> None:
    results = results_with(WINNER, TWIN, replace(TWIN, engine="tvm", measured_us=40.0))
    assert "NOT faster than its fastest fp32 twin (50.0 us against 40.0 us on tvm)" in texts(results, ok=False)


def test_int8_that_loses_more_than_a_point_against_its_own_float_net_is_called_out() -> None:
    own = replace(WINNER, accuracy=0.984, float_accuracy=0.998)
    assert "within 1 point of fp32's 98.50%" in texts(results_with(own, TWIN), ok=True), "the twin alone hides it"
    assert "loses 1.40 points against its own float net (99.80%)" in texts(results_with(own, TWIN), ok=False)
    assert "own float net" not in texts(results_with(replace(own, float_accuracy=0.99), TWIN), ok=False)


def test_a_prediction_more_than_a_tenth_off_is_called_out_with_both_figures() -> None:
    said = texts(results_with(replace(WINNER, predicted_us=22.0, measured_us=15.2), TWIN), ok=False)
    assert "int8 on onnxruntime (winner): predicted 22.0 us, measured 15.2 us: the prediction is +45% off" in said
    near = results_with(WINNER, replace(TWIN, predicted_us=105.0))
    assert "all 2 predicted latencies are within 10%" in texts(near, ok=True)
    p90 = results_with(replace(WINNER, predicted_us=58.0), statistic="p90")
    assert "all 1 predicted latencies are within 10%" in texts(p90, ok=True), "of the statistic that is limited"


def test_drift_is_named() -> None:
    results = results_with(WINNER, drift={"onnxruntime-int8": -0.31, "tvm-int8": 0.01})
    assert "table onnxruntime-int8: rows timed again beside the exported files are -31.0% off" in texts(results, False)
    assert "table tvm-int8" in texts(results, ok=True)


def test_what_a_memory_limit_means_for_onnx_runtime_is_said() -> None:
    limited = results_with(WINNER, limits=(Limit("peak_memory", "bytes", 9000.0),))
    assert "onnxruntime places its tensors itself" in texts(limited, ok=False)
    assert "places its tensors" not in texts(results_with(WINNER), ok=False)
    measured = replace(WINNER, engine="tvm", arena_bytes=9500, verdicts={"peak_memory": False}, limit_ok=False)
    assert limit_verdict(measured, limited.limits) == "peak_memory over by 500 B (+5.6%)", "the arena, not the estimate"


def test_the_gain_of_training_further_is_shown() -> None:
    record = {"epochs": 12.0, "inherited_accuracy": 0.462, "accuracy": 0.512, "seconds": 31.0}
    said = texts(results_with(replace(WINNER, trained_further=record)), ok=True)
    assert "trained further (12 epochs, 31 s): +5.0 points on validation images (46.20% to 51.20%)" in said


def test_every_accuracy_is_shown_with_its_interval() -> None:
    results = results_with(WINNER, TWIN)
    assert "95.9-99.0" in terminal(results) and "95.9–99.0" in page(results)


def test_a_twin_over_the_limit_is_marked_but_fails_nothing() -> None:
    over = replace(TWIN, verdicts={"latency": False})
    results = results_with(replace(WINNER, verdicts={"latency": True}), over)
    assert limit_verdict(over, results.limits) == "latency over by 40.0 us (+66.7%)"
    assert breaches(results) == [] and "OVER" in terminal(results)


def test_a_p90_limit_is_judged_and_named_as_such() -> None:
    row = replace(WINNER, p90_us=66.0, limit_ok=False, verdicts={"latency": False})
    results = results_with(row, TWIN, statistic="p90")
    assert breaches(results) == ["int8 on onnxruntime: latency over by 6.0 us (+10.0%) (latency (p90) <= 60.0 us)"]


def test_the_answer_is_the_last_line_and_the_first_panel() -> None:
    ship = Ship("export/a/m.onnx", "int8", "onnxruntime", "it is the most accurate of 2 files")
    results = results_with(WINNER, TWIN, ship=ship)
    assert terminal(results).strip().splitlines()[-1] == f"ship {ship.file}, because {ship.reason}"
    assert page(results).index("Ship this file") < page(results).index("Exported files")
    nothing = results_with(WINNER, ship=Ship(None, None, None, "none of 2 files is within latency <= 1.0 us"))
    assert terminal(nothing).strip().endswith("ship nothing: none of 2 files is within latency <= 1.0 us")
    assert "Ship nothing yet" in page(nothing)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_terminal_tables_are_not_cut(width: int) -> None:
    stream = StringIO()
    print_results(finished(), Console(file=stream, width=width, markup=False, highlight=False))
    shown = stream.getvalue()
    assert max(map(len, shown.splitlines())) <= width and "…" not in shown


def test_results_of_format_1_load(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results_with(WINNER, TWIN).save(path)
    old = json.loads(path.read_text()) | {"format": 1}
    for key in ("ship", "earlier", "drift"):
        del old[key]
    for row in old["targets"][0]["rows"]:
        for key in list(row):
            if key not in FORMAT_1:
                del row[key]
    path.write_text(json.dumps(old))
    results = load_results(path)
    assert results.format == 2 and results.ship is None
    assert "95.9-99.0" in terminal(results), "the interval is worked out"
    assert page(results).startswith("<!doctype html>")


FORMAT_1 = (
    "precision", "engine", "role", "accuracy", "predicted_us", "measured_us", "p50_us", "p90_us", "size_bytes",
    "peak_bytes", "energy_uj", "limit_ok", "verified", "file", "weight_bytes",
)  # fmt: skip


def test_files_of_earlier_runs_in_the_same_folder_are_shown_until_they_are_gone(tmp_path: Path) -> None:
    folder = tmp_path / "export" / "w1a1-tvm"
    (folder / "native-w1a1").mkdir(parents=True)
    entry = {
        "precision": "w1a1", "engine": "tvm", "role": "winner", "accuracy": 0.5, "size_bytes": 1, "peak_bytes": 2,
        "weight_bytes": 3, "measured_us": 7.0, "verified": {"summary": "ok: bit-equal"},
        "files": {"model.binary.onnx": "0", "native-w1a1/libmodel.so": "0"},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"native-w1a1": entry, "broken": {"files": 3}, "odd": 1}))
    found = with_latest(results_with(WINNER), tmp_path).earlier
    assert [(row.file, row.measured_us, row.verified) for row in found] == [
        ("export/w1a1-tvm/native-w1a1", 7.0, "ok: bit-equal")
    ]
    assert "Files of earlier runs" in page(results_with(WINNER, earlier=found))
    shown = results_with(replace(WINNER, file="export/w1a1-tvm/native-w1a1"))
    assert with_latest(shown, tmp_path).earlier == (), "what this run shows is not shown twice"
    (folder / "native-w1a1").rmdir()
    assert with_latest(results_with(WINNER), tmp_path).earlier == ()


def test_a_file_that_was_verified_again_later_is_shown_with_its_latest_figures(tmp_path: Path) -> None:
    row = replace(WINNER, file="export/a/m.int8.onnx", verdicts={"latency": True})
    (tmp_path / "export" / "a").mkdir(parents=True)
    (tmp_path / row.file).write_bytes(b"")
    entry = {
        "precision": "int8", "engine": "onnxruntime", "role": "winner", "accuracy": 0.97, "size_bytes": 4096,
        "peak_bytes": 900, "weight_bytes": 3, "measured_us": 66.0,
        "verified": {"summary": "ok: again", "samples": 100}, "files": {"m.int8.onnx": "0"},
    }  # fmt: skip
    (tmp_path / "export" / "a" / "manifest.json").write_text(json.dumps({"m.int8.onnx": entry}))
    latest = with_latest(results_with(row, ship=Ship(row.file, "int8", "onnxruntime", "it is the only file")), tmp_path)
    (shown,) = latest.targets[0].rows
    assert (shown.measured_us, shown.accuracy, shown.verified) == (66.0, 0.97, "ok: again")
    assert shown.limit_ok is False and shown.predicted_us == row.predicted_us
    assert latest.ship is not None and latest.ship.file is None, "what no longer keeps the limit is not shipped"
    assert "export/a/m.int8.onnx was chosen" in latest.ship.reason and "latency over by 6.0 us" in latest.ship.reason
    assert (shown.accuracy_low, shown.accuracy_high) == wilson(0.97, 100), "of the images the file was run on"
    assert "100 of 347 test images" in page(latest) and "100 of 347 test images" in terminal(latest)


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
