"""Whatever is timed on one device takes turns, however long the other one takes, and a dead holder holds nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hwnas import card
from hwnas.card import device_clock
from hwnas.device import load_device
from hwnas.engines.tvm import tile_table
from hwnas.export.native import tiles
from hwnas.export.native.lower import Candidate
from hwnas.export.native.tiles import TileTable
from hwnas.fidelity import whole_nets
from hwnas.measure import measure_missing
from hwnas.network import Operator
from hwnas.spaces.mobile import mobile

NULL = load_device("null")
HOLDER = """
import sys, time
from pathlib import Path
from hwnas.card import device_clock
from hwnas.device import load_device
with device_clock(Path(sys.argv[1]), load_device("null")):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
BLOCK = Operator.of("conv_bn_act", (3, 8, 8), (8, 8, 8), kernel=3, stride=1, activation="relu")


def holder(tables: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(tables), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def grade(tables: Path) -> None:
    space = mobile(
        1, 10, resolutions=(8,), stem_stride=1, stem_width=8, widths=((8, 16), (16, 24)), depths=(1, 2), strides=(2, 1),
        kernels=(3, 5), expansions=(2,), squeeze_excite=(False,), precisions=("int8",),
    ).restrict({"*precision": ["int8"]})  # fmt: skip
    whole_nets(space, "tvm", NULL, tables, "int8", n_fit=5, n_test=5, progress=False)


def fill(tables: Path) -> None:
    measure_missing([BLOCK], "onnxruntime", NULL, tables, progress=False)


@pytest.mark.parametrize("work", [grade, fill])
def test_a_second_process_waits_longer_than_any_timeout_and_says_so(
    work: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(card, "SAY_SECONDS", 0.1)
    monkeypatch.setattr(card, "LOCK_SECONDS", 0.5)
    with holder(tmp_path, 2.0) as process:
        start = time.monotonic()
        work(tmp_path)  # type: ignore[operator]
        assert time.monotonic() - start > 1.0
        process.wait()
    assert "waiting: another process is timing on null" in capsys.readouterr().err


def test_a_process_that_died_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path, 60.0) as process:
        process.send_signal(signal.SIGKILL)
        start = time.monotonic()
        with device_clock(tmp_path, NULL):
            assert time.monotonic() - start < 30.0


def test_one_process_may_take_its_turn_inside_its_turn(tmp_path: Path) -> None:
    with device_clock(tmp_path, NULL), device_clock(tmp_path, NULL):
        measure_missing([BLOCK], "onnxruntime", NULL, tmp_path, progress=False)


def test_tiles_are_timed_in_turn_and_only_on_their_own_device(tmp_path: Path) -> None:
    local = load_device("local")
    table = tile_table(tmp_path, local)
    assert isinstance(table, TileTable) and table.time_missing
    with table.clock():
        assert (tmp_path / local.folder / ".clock.lock").exists()
    assert not tile_table(tmp_path, local.model_copy(update={"connection": "none"})).time_missing


def test_tiles_beside_a_devices_tables_wait_as_long_as_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Grading a table holds the device for minutes: that is no error of the one who waits to time a tile."""
    monkeypatch.setattr(card, "SAY_SECONDS", 0.1)
    monkeypatch.setattr(card, "LOCK_SECONDS", 0.3)

    def timing(candidate: Candidate, _: object, clock: AbstractContextManager[None]) -> list[float]:
        with holder(tmp_path, 2.0) as process, clock:
            assert process.wait() == 0
        return [2.0, 1.0]

    monkeypatch.setattr(tiles, "time_candidates", timing)
    table = TileTable(tmp_path / NULL.folder / "tiles.json", "host")
    assert table.choose(Candidate(("first", "second"), lambda _: None, ())) == 1
    assert "waiting: another process is timing on this machine" in capsys.readouterr().err
