"""What the report shows is of the files that stand in the folder now."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hwnas.report.latest import with_latest
from hwnas.report.page import page
from hwnas.report.results import Ship

from .test_report import WINNER, results_with


def test_figures_of_files_that_another_export_replaced_are_not_passed_off_as_theirs(tmp_path: Path) -> None:
    row = replace(WINNER, file="export/a/m.int8.onnx", verified="ok: bit-equal")
    results = results_with(row, ship=Ship(row.file, "int8", "onnxruntime", "it is the only file"))
    (tmp_path / "export" / "a").mkdir(parents=True)
    manifest = tmp_path / "export" / "a" / "manifest.json"
    for architecture in (results.targets[0].architecture, {"resolution": 8}):
        manifest.write_text(json.dumps({"m.int8.onnx": {"architecture": architecture, "files": {"m.int8.onnx": "0"}}}))
        latest = with_latest(results, tmp_path)
        assert latest.ship is not None and (latest.ship.file is None) == (architecture == {"resolution": 8})
    assert "another architecture has replaced them" in latest.ship.reason and "replaced them" in page(latest)
