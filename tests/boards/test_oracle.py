"""A benchmark as a device: a run file searches the NAS-Bench-201 cells against latencies that are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hwnas.boards.oracle import Board
from hwnas.cli.main import main
from hwnas.device import load_device
from hwnas.network import Operator, elements
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from hwnas.space import Architecture
from hwnas.table import LatencyTable, open_table
from hwnas.testing import check
from hwnas.testing.contracts.board import CONV, POOL
from hwnas.testing.oracle import Oracle
from hwnas.testing.toy import null_device
from tests.pipeline.runs import SETTINGS, run_file

SPACE = {"use": "nas_bench_201", "width": 4, "cells": 1, "precisions": ["fp32"]}


def truth(operator: Operator) -> float:
    """Microseconds that follow from neither MACs nor bytes."""
    return 1.0 + len(operator.kind) / 4 + elements(operator.output_shape) / 512


def oracle(folder: Path, truth_in: Path) -> Path:
    """The profile of a device that takes what the tables in a folder say."""
    null = load_device("null").model_dump(mode="json", exclude_none=True)
    changes = {"name": "oracle", "connection": "oracle", "engines": ["onnxruntime"], "costs": None}
    text = json.dumps(null | changes | {"settings": {"truth": str(truth_in)}})
    (folder / "oracle.yaml").write_text(text)
    return folder / "oracle.yaml"


def searching(folder: Path, limit_us: float) -> Path:
    search = {**SETTINGS["search"], "budget": 40, "scorer": {"use": "scorer.proxy"}}
    return run_file(
        folder, device=str(folder / "oracle.yaml"), space=SPACE, search=search, limits={"latency_us": limit_us},
        targets=[{"precision": "fp32", "engine": "onnxruntime"}],
    )  # fmt: skip


def test_a_search_on_nas_bench_201_is_held_to_a_known_truth(tmp_path: Path) -> None:
    oracle(tmp_path, tmp_path)
    space = Job(read_run_file(searching(tmp_path, 1e6))).space_of("fp32")
    tables = open_table(tmp_path / "truth", null_device(), "onnxruntime", "fp32")
    Oracle(truth).fill(tables, space.operators())
    oracle(tmp_path, tables.path.parent)

    def takes(architecture: Architecture) -> float:
        return sum(truth(operator) for operator in space.lower(architecture).operators)

    extents = [len(choice.options) for choice in space.choices]
    codes = np.random.default_rng(0).integers(0, extents, (99, len(extents)))
    every = [takes(architecture) for architecture in space.decode(codes)]
    limit = sorted(every)[len(every) // 2]
    assert main(["search", str(searching(tmp_path, limit))]) == 0
    found = json.loads((tmp_path / "runs" / "tiny" / "search-fp32-onnxruntime.json").read_text())["value"]
    assert len(found["trials"]) > 10 and found["infeasible"] > 0
    for trial in found["trials"]:
        latency = trial["costs"]["latency"]
        assert latency <= limit and latency == pytest.approx(takes(Architecture(trial["architecture"])), rel=1e-5)
    measured = LatencyTable(tmp_path / "tables" / "oracle" / "onnxruntime-fp32.csv").rows
    version = Board(load_device(tmp_path / "oracle.yaml"), tmp_path).engine_version("onnxruntime")
    assert {row.engine_version for row in measured.values()} == {version}
    assert all(row.latency_us == pytest.approx(truth(operator), rel=1e-5) for operator, row in measured.items())


def test_what_the_tables_lack_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oracle(tmp_path, tmp_path / "nowhere")
    assert main(["measure", str(searching(tmp_path, 1e6))]) == 2
    assert "settings.truth must be a folder of latency tables, got" in capsys.readouterr().err.replace("\n", " ")
    oracle(tmp_path, tmp_path)  # a folder without tables
    assert main(["measure", str(searching(tmp_path, 1e6))]) != 0
    assert "has no latency of" in capsys.readouterr().err.replace("\n", " ")


def test_the_board_keeps_the_contract(tmp_path: Path) -> None:
    tables = open_table(tmp_path / "truth", null_device(), "onnxruntime", "fp32")
    Oracle(truth).fill(tables, [CONV, POOL])
    check("board", Board, device=load_device(oracle(tmp_path, tables.path.parent)))


def test_another_truth_is_another_version_so_that_its_rows_are_measured_again(tmp_path: Path) -> None:
    tables = open_table(tmp_path / "truth", null_device(), "onnxruntime", "fp32")
    Oracle(truth).fill(tables, [CONV])
    board = Board(load_device(oracle(tmp_path, tables.path.parent)), tmp_path)
    before = board.engine_version("onnxruntime")
    assert board.engine_version("onnxruntime") == before != board.engine_version("tvm")
    Oracle(truth).fill(tables, [POOL])
    assert board.engine_version("onnxruntime") != before
