"""What every engine and every board holds to: small parts of both, put together and really run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from hwnas import find
from hwnas.boards import Board, Conditions, Timed, board_of
from hwnas.cli.main import main
from hwnas.device import load_device
from hwnas.engines import AnyModel, Artefact, Engine, engine_class
from hwnas.errors import HwnasError
from hwnas.export.onnx import network_model
from hwnas.measure.harness import Plan
from hwnas.network import Network, Operator
from hwnas.profile import DeviceProfile
from tests.pipeline.runs import SETTINGS, run_file

SPACE = {**SETTINGS["space"], "in_channels": 1, "classes": 10}
QUICK = Plan(warmup_us=100.0, round_us=2_000.0, most_rounds=2)
CONV = Operator.of("conv_bn_act", (16, 8, 8), (16, 8, 8), kernel=3, stride=1, activation="relu")
SECOND = Operator.of("conv_bn_act", (16, 8, 8), (24, 8, 8), kernel=1, stride=1, activation="relu")
POOL = Operator.of("pool_dense", (24, 8, 8), (10,), classes=10)
NETWORK = Network.chain([("conv", CONV), ("wide", SECOND), ("head", POOL)])


def device_of(board: str) -> DeviceProfile:
    return load_device("null" if board == "null" else "local")


def made(name: str, folder: Path) -> Engine:
    """The engine, on the board that it runs on."""
    if name == "tvm":
        pytest.importorskip("tvm", reason="kernels are compiled with apache-tvm")
    device = device_of(name)
    board = board_of(device, folder)
    assert board is not None
    return board.engine(name, 1, None)


@pytest.mark.parametrize("name", find.names("engines"))
def test_an_engine_says_what_it_is_without_being_loaded(name: str) -> None:
    script = f"""
import sys
from hwnas.engines import engine_class
e = engine_class({name!r})
assert e.artefact_name("int8", "model.int8.onnx") and isinstance(e.general, bool) and isinstance(e.compiles, bool)
sys.exit(any(heavy in sys.modules for heavy in ("onnxruntime", "tvm", "torch")))
"""
    assert find.summary("engines", name).endswith(".")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", find.names("engines"))
def test_what_an_engine_makes_is_told_in_json_and_timed_by_its_board(name: str, tmp_path: Path) -> None:
    engine, board = made(name, tmp_path), board_of(device_of(name), tmp_path)
    assert board is not None and engine.version
    (tmp_path / "block").mkdir()
    built = [
        engine.block(CONV, tmp_path / "block"),
        engine.network(NETWORK, 0, tmp_path / "network"),
        *filter(None, [engine.baseline(CONV, tmp_path)]),
    ]
    told = [Artefact(one.engine, Path(str(one.path)), json.loads(json.dumps(dict(one.options)))) for one in built]
    assert told == built
    outcomes = board.time(told, QUICK)
    assert all(isinstance(one, Timed) and one.timing.latency_us > 0 and one.energy is None for one in outcomes)
    block, network = (one.timing.latency_us for one in outcomes[:2] if isinstance(one, Timed))
    assert block < network or board.real


@pytest.mark.parametrize("name", find.names("engines"))
def test_blocks_that_share_a_baseline_get_one_of_one_path(name: str, tmp_path: Path) -> None:
    engine = made(name, tmp_path)
    assert engine.baseline(CONV, tmp_path) == engine.baseline(SECOND, tmp_path)


@pytest.mark.parametrize("name", find.names("engines"))
def test_an_engine_prices_what_it_says_that_it_knows_exactly(name: str, tmp_path: Path) -> None:
    engine = made(name, tmp_path)
    priced = engine.price(NETWORK, "host")
    assert set(priced) == set(engine.exact) and all(type(value) is int and value > 0 for value in priced.values())
    least = max(engine.least_memory(operator, 3) for operator in NETWORK.operators)
    assert 0 < least <= priced.get("peak_memory", least)
    assert engine.choices({}) == {} and all(isinstance(text, str) for text in engine.sources().values())


@pytest.mark.parametrize("name", [n for n in find.names("engines") if n != "null"])
def test_a_model_that_an_engine_built_computes_what_the_others_compute(name: str, tmp_path: Path) -> None:
    from hwnas.engines.onnxruntime import Engine as OnnxRuntime

    engine, model = made(name, tmp_path), network_model(NETWORK, 3)
    board = board_of(load_device("local"), tmp_path)
    assert board is not None
    images = np.random.default_rng(0).standard_normal((1, 16, 8, 8)).astype(np.float32)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    artefact = engine.build(tmp_path / "model.onnx", "host", tmp_path / engine.artefact_name("fp32", "model.onnx"))
    assert artefact.path == tmp_path / engine.artefact_name("fp32", "model.onnx")
    expected = OnnxRuntime.run(Artefact("onnxruntime", tmp_path / "model.onnx", {"threads": 1}), images)
    np.testing.assert_allclose(board.run(artefact, images).reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    (timed,) = board.time([engine.built(artefact.path, NETWORK)], QUICK)
    assert isinstance(timed, Timed) and isinstance(engine, AnyModel)


def test_a_compiling_engine_names_another_artefact_than_the_model() -> None:
    for name in find.names("engines"):
        found = engine_class(name)
        assert found.compiles == (found.artefact_name("int8", "model.onnx") != "model.onnx")


# -- boards ----------------------------------------------------------------------------------------------------


def board_named(name: str, folder: Path) -> Board:
    found = board_of(device_of(name), folder)
    assert found is not None
    return found


def programs_for(board: Board, folder: Path) -> list[Artefact]:
    engine = board.engine("onnxruntime", 1, None)
    for part in "ab":
        (folder / part).mkdir(exist_ok=True)
    return [engine.block(CONV, folder / "a"), engine.block(POOL, folder / "b")]


@pytest.mark.parametrize("name", find.names("boards"))
def test_a_board_says_what_and_how_it_is(name: str, tmp_path: Path) -> None:
    board = board_named(name, tmp_path)
    assert find.summary("boards", name).endswith(".")
    assert isinstance(board.probe(), DeviceProfile) and board.unreachable() is None
    conditions = board.conditions()
    assert isinstance(conditions, Conditions)
    known = [getattr(conditions, field.name) for field in fields(conditions) if field.name != "governor"]
    assert all(value is None or value >= 0 for value in known)
    assert board.engine_version("onnxruntime") == board.engine("onnxruntime", 1, None).version
    assert board.canary is None or not isinstance(board.time([board.canary], QUICK)[0], Exception)


@pytest.mark.parametrize("name", find.names("boards"))
def test_one_failure_of_a_group_is_its_own_and_energy_is_told_where_it_is_asked_for(name: str, tmp_path: Path) -> None:
    board = board_named(name, tmp_path)
    good, other = programs_for(board, tmp_path)
    spoilt = tmp_path / "spoilt.onnx"
    spoilt.write_bytes(b"no model")
    bad = Artefact("onnxruntime", spoilt, {"threads": 1, "energy_uj": 0.0})
    first, failed, last = board.time([good, bad, other], QUICK, ("latency",))
    assert isinstance(first, Timed) and isinstance(failed, Exception) and isinstance(last, Timed)
    first, beside = board.time([good], QUICK, ("latency", "energy"), [other])
    assert isinstance(first, Timed) and isinstance(beside, Timed)
    assert (first.energy is not None) == board.counts_energy() and (first.energy is None or first.energy[1])


@pytest.mark.parametrize("name", find.names("boards"))
def test_a_leased_board_is_not_another_processes(name: str, tmp_path: Path) -> None:
    script = """
import sys; from pathlib import Path; from hwnas.boards import board_of; from hwnas.device import load_device
with board_of(load_device(sys.argv[1]), Path(sys.argv[2])).lease(float(sys.argv[3])):
    print("mine")
"""
    command = [sys.executable, "-c", script, device_of(name).name, str(tmp_path), "0.2"]
    board = board_named(name, tmp_path)
    with board.lease(), board.lease(0.0):  # a process may take it again
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode and "another process has been timing" in refused.stderr
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == "mine\n"


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
    with pytest.raises(HwnasError, match="connection: input should be a board: local, null, none, made-up, got"):
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
