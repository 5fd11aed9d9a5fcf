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

from hwnas.space import Architecture, Choice, SearchSpace

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
