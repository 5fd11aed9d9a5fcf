"""Filling tables: only what is missing, failures as rows, a kill loses little, and both engines really measure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwnas.boards.null import Board as NullBoard
from hwnas.card import read_card
from hwnas.device import DeviceProfile, load_device
from hwnas.engines.null import Engine as NullEngine
from hwnas.engines.null import bytes_moved
from hwnas.errors import HwnasError
from hwnas.measure import Renewal, fill, measure_missing
from hwnas.measure.backend import Backend
from hwnas.network import Operator
from hwnas.ops import macs
from hwnas.space import SearchSpace
from hwnas.spaces.mobile import mobile
from hwnas.table import LatencyTable, open_table


def space(*precisions: str) -> SearchSpace:
    """About 20 small blocks a precision."""
    return mobile(
        1, 10, resolutions=(8,), stem_stride=1, stem_width=8, widths=((8, 16), (16,)), depths=(1, 2), strides=(2, 1),
        kernels=(3,), expansions=(2,), squeeze_excite=(False, True), precisions=precisions,
    )  # fmt: skip


def blocks(precision: str) -> list[Operator]:
    shapes = {"kernel": 3, "stride": 2}
    stem = Operator.of("conv_bn_act", (3, 12, 12), (8, 6, 6), precision, activation="relu", **shapes)
    return [stem, Operator.of("bireal", (8, 12, 12), (16, 6, 6), precision, **shapes)]


@pytest.fixture(scope="module")
def null() -> DeviceProfile:
    return load_device("null")


def test_the_null_device_charges_exactly_what_its_profile_says(null: DeviceProfile, tmp_path: Path) -> None:
    operator = blocks("fp32")[0]
    measure_missing([operator], "onnxruntime", null, tmp_path, progress=False)
    row = open_table(tmp_path, null, "onnxruntime", "fp32").row(operator)
    made_up = 0.5 + macs(operator) / 16384 + bytes_moved(operator) / 65536
    assert row.latency_us is not None
    assert made_up <= row.latency_us < made_up + 1 / 1024
    assert (row.latency_us * 1024).is_integer()
    assert row.energy_source == "made up"
    assert row.energy_uj == NullEngine(null).block(operator, tmp_path).options["energy_uj"]


def test_only_missing_rows_are_measured(null: DeviceProfile, tmp_path: Path) -> None:
    operators = space("fp32", "int8").operators()
    first = measure_missing(operators[:9], "tvm", null, tmp_path, progress=False)
    second = measure_missing(operators, "tvm", null, tmp_path, progress=False)
    third = measure_missing(operators, "tvm", null, tmp_path, progress=False)
    assert (first.measured, second.measured, third.measured) == (9, len(operators) - 9, 0)
    assert third.reused == len(operators)
    assert {path.name for path in third.tables} == {"tvm-fp32.csv", "tvm-int8.csv"}
    assert not third.failed


def test_the_card_says_how_the_table_was_measured(null: DeviceProfile, tmp_path: Path) -> None:
    measure_missing(blocks("int8"), "tvm", null, tmp_path, progress=False)
    card = read_card(tmp_path / "null" / "card.json")
    assert card["device"]["digest"] == null.digest
    entry = card["tables"]["tvm-int8"]
    assert (entry["rows"], entry["failed"], entry["threads"], entry["statistic"]) == (2, 0, 1, "minimum")
    assert {"python", "numpy", "onnx"} <= set(entry["versions"])
    assert entry["command"]


def test_a_failure_is_a_row_with_its_reason_and_is_not_tried_again_unasked(null: DeviceProfile, tmp_path: Path) -> None:
    bad = Operator.of("no_such_block", (8, 4, 4), (8, 4, 4))
    report = measure_missing([*blocks("fp32"), bad], "tvm", null, tmp_path, progress=False)
    assert [operator for operator, _ in report.failed] == [bad]
    assert "no block named 'no_such_block'" in report.failed[0][1]
    again = measure_missing([bad], "tvm", null, tmp_path, progress=False)
    assert (again.measured, len(again.failed)) == (0, 1)
    assert measure_missing([bad], "tvm", null, tmp_path, progress=False, renewal=Renewal(failed=True)).measured == 1


class Upgraded(NullEngine):
    version = "null 2"


def upgrade(monkeypatch: pytest.MonkeyPatch, device: DeviceProfile) -> None:
    monkeypatch.setattr(fill, "backend_for", lambda *given: Backend(Upgraded(device), NullBoard(device, given[3])))
    monkeypatch.setattr(fill, "engine_version", lambda *_: Upgraded.version)


def test_rows_of_another_engine_version_are_measured_again_and_the_old_ones_kept(
    null: DeviceProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure_missing(blocks("fp32"), "tvm", null, tmp_path, progress=False)
    old = dict(LatencyTable(first.tables[0]).rows)
    upgrade(monkeypatch, null)
    kept = measure_missing(blocks("fp32"), "tvm", null, tmp_path, progress=False, renewal=Renewal(stale=False))
    assert (kept.measured, kept.stale, kept.renewed) == (0, 2, 0)
    assert "2 rows are of another version of the engine" in str(kept)
    again = measure_missing(blocks("fp32"), "tvm", null, tmp_path, progress=False)
    assert (again.measured, again.stale, again.renewed) == (2, 0, 2)
    assert "2 of them replaced older rows" in str(again)
    assert {row.engine_version for row in LatencyTable(first.tables[0]).rows.values()} == {"null 2"}
    assert LatencyTable(tmp_path / "null" / "earlier" / "tvm-fp32.null-1.csv").rows == old
    assert measure_missing(blocks("fp32"), "tvm", null, tmp_path, progress=False).measured == 0


def test_every_row_is_measured_again_on_request(null: DeviceProfile, tmp_path: Path) -> None:
    measure_missing(blocks("fp32"), "tvm", null, tmp_path, progress=False)
    again = measure_missing(blocks("fp32"), "tvm", null, tmp_path, progress=False, renewal=Renewal(every=True))
    assert (again.measured, again.renewed, again.reused) == (2, 2, 0)
    assert len(LatencyTable(tmp_path / "null" / "earlier" / "tvm-fp32.null-1.csv")) == 2


@pytest.mark.parametrize(
    ("engine", "device", "threads", "message"),
    [
        ("tensorrt", "null", 1, "unknown engine 'tensorrt'"),
        ("onnxruntime", "stm32h7", 1, "does not run onnxruntime"),
        ("tvm", "raspberry-pi-5", 1, "is not this machine"),
        ("tvm", "null", 0, "threads must be at least 1"),
        ("tvm", "local", 2, "runs on one thread"),
    ],
)
def test_a_device_that_cannot_measure_is_refused_before_any_row(
    tmp_path: Path, engine: str, device: str, threads: int, message: str
) -> None:
    with pytest.raises(HwnasError, match=message):
        measure_missing(blocks("fp32"), engine, load_device(device), tmp_path, threads, progress=False)
    assert not list(tmp_path.rglob("*.csv"))


@pytest.mark.parametrize(
    ("engine", "precision"),
    [(engine, precision) for engine in ("onnxruntime", "tvm") for precision in ("fp32", "int8", "w1a1")],
)
def test_an_engine_really_measures(engine: str, precision: str, tmp_path: Path) -> None:
    local = load_device("local")
    report = measure_missing(blocks(precision), engine, local, tmp_path, progress=False)
    assert report.failed == ()
    for operator in blocks(precision):
        row = open_table(tmp_path, local, engine, precision).row(operator)
        assert row.latency_us is not None and row.p50_us is not None and row.p90_us is not None
        assert 0 < row.latency_us <= row.p50_us <= row.p90_us < 1e5
        assert len(row.samples_us) >= 20
        assert row.runs >= len(row.samples_us)
        assert row.engine_version.startswith(engine)


def test_a_bigger_block_takes_longer_on_both_engines(tmp_path: Path) -> None:
    local = load_device("local")
    sizes = [Operator.of("conv_bn_act", (16, n, n), (16, n, n), kernel=3, stride=1, activation="relu") for n in (8, 32)]
    for engine in ("onnxruntime", "tvm"):
        measure_missing(sizes, engine, local, tmp_path, progress=False)
        table = open_table(tmp_path, local, engine, "fp32")
        # 16 times the work: even with per-call costs it cannot be less than 4 times the time
        assert table.latency_us(sizes[1]) > 4 * table.latency_us(sizes[0])


def test_measuring_never_loads_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from hwnas.measure import Renewal, fill, measure_missing\n"
        "from hwnas.device import load_device; from hwnas.network import Operator\n"
        "o = Operator.of('conv_bn_act', (3, 8, 8), (8, 8, 8), 'int8', kernel=3, stride=1, activation='relu')\n"
        "for engine in ('onnxruntime', 'tvm'):\n"
        "    r = measure_missing([o], engine, load_device('local'), Path(sys.argv[1]), progress=False)\n"
        "    assert not r.failed, r.failed\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


MEASURER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_fill import load_device, measure_missing, space
operators = space("fp32", "int8").operators()
measure_missing(operators, "onnxruntime", load_device("local"), Path(sys.argv[1]), progress=False)
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", MEASURER.format(tests=str(Path(__file__).parent)), str(folder)])


def rows_in(folder: Path) -> int:
    return sum(len(LatencyTable(path)) for path in folder.rglob("*.csv"))


def test_a_killed_measurement_goes_on_where_it_was(tmp_path: Path) -> None:
    process = start(tmp_path)
    deadline = time.monotonic() + 60
    while process.poll() is None and rows_in(tmp_path) == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = rows_in(tmp_path)
    assert kept > 0
    operators = space("fp32", "int8").operators()
    report = measure_missing(operators, "onnxruntime", load_device("local"), tmp_path, progress=False)
    assert report.reused == kept
    assert rows_in(tmp_path) == len(operators)


def test_two_processes_fill_one_table_together(tmp_path: Path) -> None:
    both = [start(tmp_path), start(tmp_path)]
    assert [process.wait() for process in both] == [0, 0]
    assert rows_in(tmp_path) == len(space("fp32", "int8").operators())
