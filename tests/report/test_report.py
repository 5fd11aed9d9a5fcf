"""The two reports are drawn from results.json alone, and say plainly what went wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from hwnas.confidence import wilson
from hwnas.errors import HwnasError
from hwnas.report.findings import breaches, findings, limit_verdict, speed_up
from hwnas.report.latest import with_latest
from hwnas.report.page import page
from hwnas.report.results import (
    Card,
    Limit,
    Results,
    Ship,
    load_results,
)
from hwnas.report.terminal import print_results

from .samples import TWIN, WINNER, finished, results_with


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


def test_where_nothing_was_timed_predictions_are_called_so() -> None:
    reason = "not timed: board is not this machine"
    unknown = dict.fromkeys(("measured_us", "p50_us", "p90_us", "p99_us", "samples"))
    verdicts = {"latency": True, "size": True}
    rows = [replace(row, **unknown, not_timed=reason, verdicts=verdicts) for row in (WINNER, TWIN)]
    results = results_with(*rows)
    assert "int8 on onnxruntime: within its limit as predicted (latency <= 60.0 us)" in texts(results, ok=True)
    assert f"{reason}; latencies and verdicts on them are predictions" in texts(results, ok=False)
    over = replace(rows[0], predicted_us=66.0, verdicts={"latency": False}, limit_ok=False)
    assert limit_verdict(over, results.limits) == "latency over by 6.0 us (+10.0%) as predicted"
    only_size = replace(rows[0], verdicts={"size": True})
    assert limit_verdict(only_size, results.limits) == "within", "bytes are read from the file"
    assert speed_up(results.targets[0], rows[0]) is None
    text = page(results)
    assert reason in text and "as timed on the device" not in text and "network as predicted" in text


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


@pytest.mark.parametrize("sized", [False, True])
def test_a_limit_on_size_is_told_apart_from_the_size_of_the_file(sized: bool) -> None:
    limits = (Limit("latency", "us", 60.0), *((Limit("size", "bytes", 1e5),) * sized))
    shown = " ".join(terminal(results_with(WINNER, TWIN, limits=limits)).split())
    assert ("size: of the file; its limit is on the weights alone" in shown) == sized
