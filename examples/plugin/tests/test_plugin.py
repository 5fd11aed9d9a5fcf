"""What the contracts cannot know: a value by hand, a climb by hand, and a run file that uses everything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from hwnas_example.methods.search.hill_climbing import HillClimbing
from hwnas_example.ops.softsign import softsign

from hwnas.export.native import NativeModel, compile_onnx
from hwnas.export.onnx import block_model
from hwnas.measure.float_ends import with_float_ends
from hwnas.network import Operator
from hwnas.space import Architecture, Choice, SearchSpace
from hwnas.testing.onnx_runtime import exact_session

HERE = Path(__file__).resolve().parents[1]


def test_softsign_by_hand() -> None:
    assert softsign(np.array([-3.0, 0.0, 1.0], np.float32)).tolist() == [-0.75, 0.0, 0.5]


def test_a_neighbour_of_the_best_differs_in_one_choice_at_most() -> None:
    space = SearchSpace("toy", tuple(Choice(f"c{i}", (0, 1, 2)) for i in range(6)), (), 1, 2)
    climber = HillClimbing(space, restart=0.0)
    members = [Architecture({f"c{i}": value for i in range(6)}) for value in (0, 1, 2)]
    climber.tell(members, np.array([1.0, 5.0, 2.0]))
    for neighbour in climber.ask(30):
        assert sum(neighbour[f"c{i}"] != 1 for i in range(6)) <= 1


def test_a_network_of_it_is_a_native_library(tmp_path: Path) -> None:
    """The block in 8-bit codes, as `hwnas export --format native` compiles it: floats are at its ends alone."""
    operator = Operator.of("conv_softsign", (3, 6, 6), (4, 6, 6), "int8", kernel=3, stride=1)
    model = with_float_ends(block_model(operator, seed=3), operator)
    library = compile_onnx(model, "host", tmp_path / "library", cache=tmp_path)
    kinds = [step["kind"] for step in library.manifest["steps"]]
    assert kinds.count("conv_int") == kinds.count("lut") == 1 and not [kind for kind in kinds if kind.endswith("_f32")]
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)
    (expected,) = exact_session(model).run(None, {model.graph.input[0].name: x})
    np.testing.assert_array_equal(NativeModel(tmp_path / "library")(x), expected)


def test_a_run_file_measures_trains_searches_and_ships_with_all_of_it(tmp_path: Path) -> None:
    shutil.copy(HERE / "run.yaml", tmp_path)
    command = [sys.executable, "-m", "hwnas", "run", "run.yaml"]
    paths = os.pathsep.join([str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "plugin"
    (target,) = json.loads((run / "results.json").read_text())["targets"]
    winner = next(row for row in target["rows"] if row["role"] == "winner")
    assert winner["precision"] == "int6" and winner["verified"].startswith("ok")
    model = onnx.load(run / winner["file"])
    assert "Softsign" in {node.op_type for node in model.graph.node}
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    assert np.abs(weights["b0.conv.weight"].astype(int)).max() == 31, "63 levels"
    assert (tmp_path / "latency_tables" / "null" / "onnxruntime-int6.csv").exists()
