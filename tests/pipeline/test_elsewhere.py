"""A board that is not this machine: by its copied profile and tables everything is done from here but the timing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hwnas.boards.null import Board as NullBoard
from hwnas.cli.main import main
from hwnas.device import load_device
from hwnas.engines.null import Engine as NullEngine
from hwnas.measure.backend import Backend
from hwnas.pipeline import shipping
from hwnas.report.latest import with_latest
from hwnas.report.results import load_results
from tests.pipeline.runs import run_file

TARGETS = [{"precision": "int8", "engine": "onnxruntime"}, {"precision": "int8", "engine": "tvm"}]
REASON = "not timed: board is not this machine"


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what was copied from the board: its profile, and the tables that it measured (at made-up costs,
    since no board is at hand)."""
    folder = tmp_path_factory.mktemp("board")
    profile = load_device("raspberry-pi-5").model_copy(update={"name": "board"})
    (folder / "board.yaml").write_text(json.dumps(profile.model_dump(mode="json", exclude_none=True)))
    null = load_device("null")
    with pytest.MonkeyPatch.context() as patched:
        for place in ("hwnas.measure.fill.backend_for", "hwnas.fidelity.backend_for"):
            patched.setattr(place, lambda *given: Backend(NullEngine(null), NullBoard(null, given[3])))
        assert main(["measure", str(on_board(folder))]) == 0
    return folder


def on_board(folder: Path, **changes: Any) -> Path:
    settings = {"targets": TARGETS, "card": {"fit": 5, "test": 5}, **changes}
    return run_file(folder, device=str(folder / "board.yaml"), **settings)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="qemu-aarch64 is not installed")
def test_a_run_for_a_board_ends_with_verified_files_and_predictions_that_are_called_so(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = on_board(copied)
    assert main(["run", str(path)]) == 0
    told = printed(capsys)
    assert REASON in told and "as timed on the device" not in told and "as predicted" in told
    run = copied / "runs" / "tiny"
    results = load_results(run)
    rows = [row for target in results.targets for row in target.rows]
    assert {row.engine for row in rows} == {"onnxruntime", "tvm"} and results.drift == {}
    for row in rows:
        assert row.not_timed == REASON and row.verified.startswith("ok")
        assert (row.measured_us, row.p50_us, row.p90_us, row.p99_us, row.samples) == (None,) * 5
    winners = [row for row in rows if row.role == "winner"]
    assert all(row.predicted_us and row.verdicts == {"latency": True} and row.limit_ok for row in winners)
    assert next(row for row in winners if row.engine == "tvm").verified.count("under qemu-aarch64") == 1
    assert results.ship is not None and results.ship.file in {row.file for row in rows}
    assert f"its latency is predicted, {REASON}" in results.ship.reason
    page = (run / "report.html").read_text()
    assert REASON in page and "as timed on the device" not in page and "within as predicted" in page
    library = json.loads((run / "export" / "int8-tvm" / "native-int8" / "manifest.json").read_text())
    assert library["agreement"]["ran"] and library["agreement"]["how"] == "under qemu-aarch64"


@pytest.mark.slow
def test_verify_and_export_for_a_board_say_what_is_predicted(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = on_board(copied, targets=TARGETS[:1])
    assert main(["export", str(path)]) == 0
    capsys.readouterr()
    assert main(["verify", str(path)]) == 0
    assert "predicted" in (told := printed(capsys)) and REASON in told
    assert main(["verify", str(path), "--json"]) == 0
    winner = json.loads(capsys.readouterr().out)[0]
    assert winner["not_timed"] == REASON and winner["predicted_us"] > 0 and "measured_us" not in winner


@pytest.mark.slow
def test_what_the_board_itself_measured_later_is_shown_as_measured(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = on_board(copied, targets=TARGETS[:1])
    assert main(["run", str(path)]) == 0
    run = copied / "runs" / "tiny"
    manifest = run / "export" / "int8-onnxruntime" / "manifest.json"
    entries = json.loads(manifest.read_text())
    entries["model.int8.onnx"] |= {"measured_us": 7.0, "p50_us": 7.5, "not_timed": None}
    manifest.write_text(json.dumps(entries))
    row = with_latest(load_results(run), run).targets[0].rows[0]
    assert (row.measured_us, row.not_timed) == (7.0, None)


@pytest.mark.slow
def test_figures_of_another_device_are_never_the_boards(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The very same ONNX file may have been timed here, into the same folder, before."""
    path = on_board(copied, targets=TARGETS[:1])
    assert main(["run", str(path), "--device", "null"]) == 0
    run = copied / "runs" / "tiny"
    assert load_results(run).targets[0].rows[0].measured_us
    assert main(["run", str(path)]) == 0
    assert all(row.measured_us is None for row in load_results(run).targets[0].rows)


def test_a_board_whose_target_is_host_is_refused_since_a_library_for_it_would_be_this_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = load_device("raspberry-pi-5").model_copy(update={"name": "board", "target": "host"})
    (tmp_path / "board.yaml").write_text(json.dumps(profile.model_dump(mode="json", exclude_none=True)))
    assert main(["run", str(on_board(tmp_path))]) == 2
    assert "its target is host" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "isa", "here", "bits"),
    [
        ("x86-avx2", ["avx2"], ["avx512_vnni"], 7),
        ("x86_64-linux-gnu -mcpu=znver4", ["avx2", "avx_vnni"], ["avx_vnni"], 8),
        ("x86-avx512-vnni", ["avx512_vnni"], ["avx2"], 7),
        ("aarch64", ["asimd"], ["asimd"], 8),
        ("host", [], ["avx2"], 7),
        ("host", [], ["avx_vnni"], 8),
        ("host", ["AVX2", "FMA"], ["asimd"], 7),
        ("x86-avx512-vnni", ["AVX512_VNNI"], ["avx_vnni"], 8),
    ],
)
def test_weights_have_seven_bits_where_the_device_or_this_machine_saturates(
    target: str, isa: list[str], here: list[str], bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def machine(name: str, flags: list[str]) -> SimpleNamespace:
        return SimpleNamespace(target=name, cpu=SimpleNamespace(isa=SimpleNamespace(value=flags)))

    monkeypatch.setattr(shipping, "probe_local", lambda: machine("host", here))
    assert shipping.weight_bits(SimpleNamespace(device=machine(target, isa))) == bits  # type: ignore[arg-type]
