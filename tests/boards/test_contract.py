"""Every engine and every board keeps its contract, and the suites find what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas import find
from hwnas.boards import Board, board_of, local
from hwnas.boards import null as null_board
from hwnas.cli.main import main
from hwnas.device import load_device
from hwnas.engines import Artefact, null, onnxruntime, tvm
from hwnas.errors import HwnasError
from hwnas.testing import Law, LawBroken, check, contract, laws
from hwnas.testing.contracts.engine import CONV
from tests.boards import broken
from tests.pipeline.runs import SETTINGS, run_file

SPACE = {**SETTINGS["space"], "in_channels": 1, "classes": 10}
test_the_local_board = contract("board", {"local": local.Board})
test_the_null_board = contract("board", {"null": null_board.Board}, device=load_device("null"))
test_onnx_runtime = contract("engine", {"onnxruntime": onnxruntime.Engine})
test_the_null_engine = contract("engine", {"null": null.Engine}, device=load_device("null"))


@pytest.mark.parametrize("law", laws("engine").values(), ids=laws("engine"))
def test_tvm(law: Law) -> None:
    pytest.importorskip("tvm", reason="kernels are compiled with apache-tvm")
    law(tvm.Engine)


def test_every_file_is_held_to_its_contract() -> None:
    assert find.names("boards") == ["local", "null", "oracle"] and find.names("engines") == [
        "null",
        "onnxruntime",
        "tvm",
    ]


@pytest.mark.parametrize(
    ("kind", "subject", "given", "told"),
    [
        ("board", broken.SharesNoDevice, {}, "another process cannot have it meanwhile"),
        ("board", broken.StopsAtTheFirst, {}, "an outcome a program, got 2 of 3"),
        ("board", broken.TellsEnergyAlways, {"device": load_device("null")}, "no energy where none is asked for"),
        ("board", broken.IsAnotherVersion, {}, "engine_version is what a row measured now says"),
        ("engine", broken.Loads, {}, "an artefact other than the model where it compiles"),
        ("engine", broken.Keeps, {}, "options are plain JSON values"),
        ("engine", broken.Halves, {}, "what ONNX Runtime computes, at most"),
        ("engine", broken.PricesNothing, {}, "a price of each of .'peak_memory',."),
    ],
)
def test_a_suite_finds_what_breaks_its_law(kind: str, subject: Any, given: dict[str, Any], told: str) -> None:
    with pytest.raises(LawBroken, match=told):
        check(kind, subject, **given)


def board_named(name: str, folder: Path) -> Board:
    found = board_of(load_device("null" if name == "null" else "local"), folder)
    assert found is not None
    return found


def programs_for(board: Board, folder: Path) -> list[Artefact]:
    return [board.engine("onnxruntime", 1, None).block(CONV, folder)]


def test_the_null_board_runs_no_model(tmp_path: Path) -> None:
    board = board_named("null", tmp_path)
    with pytest.raises(HwnasError, match="runs no model"):
        board.run(programs_for(board, tmp_path)[0], np.zeros((1, 16, 8, 8), np.float32))
    with pytest.raises(HwnasError, match="builds no model"):
        board.engine("tvm", 1, None).build(tmp_path / "model.onnx", "host", tmp_path)


def test_a_profile_of_no_board_or_of_an_unknown_one(tmp_path: Path) -> None:
    from hwnas.profile import read_profile

    assert board_of(load_device("raspberry-pi-5")) is None
    assert load_device("null").connection == "made-up" and load_device("null").board == "null", "as old files say"
    text = (find.file("engines", "null").parents[1] / "devices" / "raspberry-pi-5.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("connection: none", "connection: carrier-pigeon"))
    with pytest.raises(HwnasError, match="connection: input should be a board: local, null, oracle, none, made-up"):
        read_profile(tmp_path / "mine.yaml")


def test_a_limit_on_energy_is_refused_before_anything_is_measured_where_nothing_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hwnas.boards.local.rapl_domains", list)
    path = run_file(tmp_path, device="local", data=None, space=SPACE, limits={"energy_uj": 5.0})
    for options in ([], ["--dry-run"]):
        assert main(["measure", str(path), *options]) == 2
        assert "energy is limited and cannot be measured on local: it has no energy counter" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.csv"))
