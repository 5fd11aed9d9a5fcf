"""A board and an engine are one file each: a package outside hwnas adds both, and a run file uses them to the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.boards import board_of
from hwnas.cli.main import main
from hwnas.device import load_device, named_probe, profile_text
from hwnas.engines import Artefact, engine_class
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from hwnas.report.results import load_results
from hwnas.table import LatencyTable
from tests.pipeline.runs import run_file

# Everything that runs, runs in a process of its own at the other end of a pipe, as it would at the end of a cable.
PIPE = '''"""A board behind a pipe: another process loads, runs and times what it is told of."""

import pickle
import subprocess
import sys
from pathlib import Path

from hwnas.boards.local import Board as Local
from hwnas.errors import HwnasError
from hwnas.measure.here import CANARY

FAR = """
import pickle, sys
from hwnas.engines import engine_class
from hwnas.measure.here import time_here
out = sys.stdout.buffer
while True:
    try:
        what, given = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        answer = time_here(*given) if what == "time" else engine_class(given[0].engine).run(*given)
    except Exception as problem:
        answer = problem
    pickle.dump([answer], out)
    out.flush()
"""
_far = []


def _ask(what, given):
    if not _far:
        command = [sys.executable, "-c", FAR]
        _far.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    pickle.dump((what, given), _far[0].stdin)
    _far[0].stdin.flush()
    (answer,) = pickle.load(_far[0].stdout)
    if isinstance(answer, Exception):
        raise answer
    return answer


class Board:
    real, here, canary = True, False, CANARY

    def __init__(self, device, tables_dir):
        self.near, self.log = Local(device, tables_dir), Path(device.settings["log"])

    def probe(self):
        return self.near.probe()

    def unreachable(self):
        return None

    def conditions(self):
        return self.near.conditions()

    def counts_energy(self):
        return False

    def lease(self, timeout_s=None):
        return self.near.lease(timeout_s)

    def engine(self, name, threads, tables_dir):
        return self.near.engine(name, threads, tables_dir)

    def engine_version(self, name):
        return self.near.engine_version(name)

    def run(self, artefact, inputs):
        return _ask("run", (artefact, inputs))

    def time(self, programs, plan=None, quantities=("latency",), beside=()):
        with self.log.open("a") as log:
            log.write(f"{len(programs)} {len(beside)}\\n")
        return _ask("time", (list(programs), plan, ("latency",), list(beside)))
'''
# The smallest engine that is no other: numpy's reference evaluator of ONNX. It is slow, and takes any model.
SLOW = '''"""numpy: ONNX's own reference evaluator, operator by operator."""

import time
from pathlib import Path

import numpy as np

from hwnas import ops
from hwnas.engines import Artefact
from hwnas.export.onnx import block_model, network_model


class Runner:
    def __init__(self, path):
        from onnx.reference import ReferenceEvaluator

        self.session = ReferenceEvaluator(str(path))
        given = self.session.proto_.graph.input[0].type.tensor_type
        kind = np.uint8 if given.elem_type == 2 else np.float32
        self.inputs = np.ones([axis.dim_value or 1 for axis in given.shape.dim], kind)

    def __call__(self, inputs):
        return self.session.run(None, {self.session.input_names[0]: inputs})[0]

    def run_us(self, repeats):
        start = time.perf_counter()
        for _ in range(repeats):
            self(self.inputs)
        return (time.perf_counter() - start) * 1e6


class Engine:
    general, precisions, exact, compiles, version = True, frozenset({"fp32", "int8"}), (), False, "numpy 1"

    def __init__(self, device, threads, tables_dir):
        pass

    @staticmethod
    def installed_version():
        return Engine.version

    @staticmethod
    def artefact_name(precision, model):
        return model

    @staticmethod
    def sources():
        return {}

    @staticmethod
    def price(network, target):
        return {}

    @staticmethod
    def least_memory(operator, image_channels):
        return float(ops.peak_bytes(operator))

    def choices(self, built):
        return {}

    def build(self, model, target, folder):
        return Artefact("slow", Path(model))

    def built(self, path, network):
        return Artefact("slow", path)

    def _written(self, model, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        return Artefact("slow", folder / "model.onnx")

    def block(self, operator, folder):
        return self._written(block_model(operator), folder)

    def network(self, network, seed, folder):
        return self._written(network_model(network, seed), folder)

    def baseline(self, operator, folder):
        return None

    @staticmethod
    def open(artefact):
        return Runner(artefact.path)

    @staticmethod
    def run(artefact, inputs):
        return Runner(artefact.path)(inputs)
'''


@pytest.fixture
def package(outside: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package, importable here and at the other end of the pipe."""
    for folder, name, text in (("boards", "pipe", PIPE), ("engines", "slow", SLOW)):
        (outside / folder).mkdir()
        (outside / folder / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{outside.parent}:{Path(__file__).parents[2]}")
    yield outside
    far = sys.modules.get(f"{outside.name}.boards.pipe")
    for process in vars(far).get("_far", ()) if far is not None else ():
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=30)


def _line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on standard error, as one line."""
    return "; ".join(line.strip() for line in capsys.readouterr().err.splitlines())


def profile(folder: Path, engines: list[str]) -> Path:
    """This machine as a board behind the pipe."""
    changes: dict[str, Any] = {"connection": "pipe", "engines": engines, "settings": {"log": str(folder / "log")}}
    path = folder / "rig.yaml"
    path.write_text(profile_text(named_probe("rig").model_copy(update=changes)))
    return path


@pytest.mark.slow
def test_a_run_on_a_board_of_a_package_is_timed_in_its_process_a_group_at_a_time(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hwnas.fidelity.NOISE_LIMIT", 100.0)  # how busy this machine is, is not the question
    device = profile(tmp_path, ["onnxruntime"])
    path = run_file(tmp_path, device=str(device), limits={"latency_us": 1e6})
    assert main(["run", str(path)]) == 0, capsys.readouterr().err
    results = load_results(tmp_path / "runs" / "tiny")
    rows = [row for target in results.targets for row in target.rows]
    assert [row.engine for row in rows] == ["onnxruntime"] * 2
    assert all(row.measured_us and row.not_timed is None and row.verified.startswith("ok") for row in rows)
    assert "onnxruntime-int8" in results.drift
    tables = list((tmp_path / "tables" / "rig").glob("*.csv"))
    held = [row for table in tables for row in LatencyTable(table).rows.values()]
    assert len(held) > 20 and all(row.ok and row.engine_version.startswith("onnxruntime ") for row in held)
    trips = [tuple(map(int, line.split())) for line in (tmp_path / "log").read_text().splitlines()]
    timed = sum(programs for programs, _ in trips)
    assert len(trips) < timed / 3, "one round trip a group, never one a sample"


def test_a_board_of_a_package_runs_what_an_engine_built(package: Path, tmp_path: Path) -> None:
    from hwnas.export.onnx import network_model
    from hwnas.testing.contracts.engine import NETWORK

    board = board_of(load_device(profile(tmp_path, ["onnxruntime", "slow"])), tmp_path)
    assert board is not None and not board.here and board.real
    (tmp_path / "model.onnx").write_bytes(network_model(NETWORK, 1).SerializeToString())
    images = np.random.default_rng(0).standard_normal((1, 16, 8, 8)).astype(np.float32)
    outputs = [
        board.run(board.engine(name, 1, None).build(tmp_path / "model.onnx", "host", tmp_path), images)
        for name in ("onnxruntime", "slow")
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)
    gone = Artefact("slow", tmp_path / "gone.onnx")
    with pytest.raises(FileNotFoundError):
        board.time([gone])


def test_an_engine_of_a_package_is_a_target_of_a_run_file_and_names_its_tables(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    null = load_device("null").model_dump(mode="json", exclude_none=True)
    (tmp_path / "made-up.yaml").write_text(json.dumps({**null, "name": "made-up", "engines": ["null"]}))
    targets = [{"precision": "int8", "engine": "slow"}]
    misspelt = [{"precision": "int8", "engine": "slwo"}]
    assert main(["measure", str(run_file(tmp_path, targets=misspelt))]) == 2
    assert (
        "targets.0.engine: unknown engine; nearest: slow; known: null, onnxruntime, slow, tvm"
        in capsys.readouterr().err
    )
    path = run_file(tmp_path, device=str(tmp_path / "made-up.yaml"), targets=targets)
    assert main(["measure", str(path)]) == 2
    assert "device made-up does not run slow" in capsys.readouterr().err
    (tmp_path / "made-up.yaml").write_text(json.dumps({**null, "name": "made-up", "engines": ["slow", "tvm"]}))
    unrun = [{"precision": "w1a1", "engine": "slow"}]
    assert main(["measure", str(run_file(tmp_path, device=str(tmp_path / "made-up.yaml"), targets=unrun))]) == 2
    assert "target w1a1-slow: slow runs no network of w1a1; hint: it runs fp32, int8" in _line(capsys)
    path = run_file(tmp_path, device=str(tmp_path / "made-up.yaml"), targets=targets)
    job = Job(read_run_file(path))
    assert job.twin_engine == "slow" and engine_class("slow").general
    assert main(["run", str(path)]) == 0, capsys.readouterr().err
    rows = load_results(tmp_path / "runs" / "tiny").targets[0].rows
    assert [(row.engine, row.role) for row in rows] == [
        ("slow", "winner"), ("slow", "fp32 twin"), ("tvm", "fp32 twin"),
    ]  # fmt: skip
    assert (tmp_path / "runs" / "tiny" / "export" / "int8-slow" / "model.int8.onnx").exists()
    assert {table.stem for table in (tmp_path / "tables" / "made-up").glob("*.csv")} == {"slow-int8", "slow-fp32"}
