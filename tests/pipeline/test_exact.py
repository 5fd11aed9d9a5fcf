"""Size and arena: what the search priced is what is measured on the file that it leads to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hwnas import ops
from hwnas.cli.main import main
from hwnas.export.native.arena import planned
from hwnas.methods.cost.peak_memory import peak_memory
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.exact import exact_costs
from hwnas.pipeline.job import Job

from .runs import run_file

TARGETS = [{"precision": "int8", "engine": "tvm"}]


def test_only_what_is_limited_and_the_engine_decides_is_priced_exactly(tmp_path: Path) -> None:
    targets = [*TARGETS, {"precision": "int8", "engine": "onnxruntime"}]
    limits = {"latency_us": 1000.0, "size_kb": 100.0, "peak_memory_kb": 100.0}
    job = Job(read_run_file(run_file(tmp_path, limits=limits, targets=targets)), progress=False)
    library, model = job.config.targets
    assert set(exact_costs(job, library)) == {"size", "peak_memory"}
    estimated = exact_costs(job, model)
    assert set(estimated) == {"size", "peak_memory"}
    network = job.space.lower(job.space_of("int8").smallest())
    price = exact_costs(job, library)["peak_memory"]
    assert price(network) == price(network) == planned(network, job.device.target).arena_bytes
    assert estimated["peak_memory"](network) == ops.network_peak_bytes(network), "it places its tensors itself"
    assert job.path("exact-tvm.json").exists(), "kept for the next run"


def test_a_cell_is_searched_under_the_peak_memory_that_its_file_is_judged_by(tmp_path: Path) -> None:
    """What waits beside a block for a later reader counts, and a tensor that a block reads twice is there once."""
    space = {"use": "nas_bench_201", "width": 8, "cells": 1, "precisions": ["fp32"]}
    targets, limits = [{"precision": "fp32", "engine": "onnxruntime"}], {"peak_memory_kb": 100.0}
    job = Job(read_run_file(run_file(tmp_path, limits=limits, targets=targets, space=space)), progress=False)
    least, price = peak_memory(job.space, "onnxruntime"), exact_costs(job, job.config.targets[0])["peak_memory"]
    rng, above = np.random.default_rng(0), 0
    for _ in range(40):
        network = job.space.lower(job.space.random(rng))
        assert least(network) <= price(network) == ops.network_peak_bytes(network)
        above += least(network) < price(network)
    assert above, "else the largest block would have told it"


def test_two_cells_of_the_same_blocks_are_priced_each_by_its_own_wiring(tmp_path: Path) -> None:
    space = {"use": "nas_bench_201", "width": 8, "cells": 1, "precisions": ["fp32"]}
    targets, limits = [{"precision": "fp32", "engine": "tvm"}], {"latency_us": 1000.0, "peak_memory_kb": 100.0}
    job = Job(read_run_file(run_file(tmp_path, limits=limits, targets=targets, space=space)), progress=False)
    skips = {f"edge.{edge}": "skip_connect" for edge in ("0-1", "0-2", "0-3", "1-2", "1-3", "2-3")}
    pair = [
        job.space.lower(job.space.architecture({**skips, **convolved, "precision": "fp32"}))
        for convolved in (
            {"edge.1-2": "nor_conv_3x3", "edge.0-3": "nor_conv_3x3"},
            {"edge.0-2": "nor_conv_3x3", "edge.2-3": "nor_conv_3x3"},
        )
    ]
    assert pair[0].operators == pair[1].operators
    price = exact_costs(job, job.config.targets[0])["peak_memory"]
    wanted = [planned(network, job.device.target).arena_bytes for network in pair]
    assert [price(network) for network in pair] == wanted and wanted[0] != wanted[1]


@pytest.mark.slow
def test_limits_on_size_and_arena_hold_as_measured_on_the_library(tmp_path: Path) -> None:
    job = Job(read_run_file(run_file(tmp_path, targets=TARGETS)), progress=False)
    program = planned(job.space.lower(job.space_of("int8").smallest()), job.device.target)
    limits = {
        "latency_us": 1000.0,
        "peak_memory_bytes": float(program.arena_bytes),
        "size_bytes": 1.2 * len(program.constants),
    }
    assert main(["run", str(run_file(tmp_path, limits=limits, targets=TARGETS))]) == 0
    results = json.loads((tmp_path / "runs" / "tiny" / "results.json").read_text())
    (target,) = results["targets"]
    winner = next(row for row in target["rows"] if row["role"] == "winner")
    pick = json.loads((tmp_path / "runs" / "tiny" / "pick-int8-tvm.json").read_text())
    assert winner["arena_bytes"] == pick["costs"]["peak_memory"] <= limits["peak_memory_bytes"]
    assert winner["weight_bytes"] <= pick["costs"]["size"] <= limits["size_bytes"]
    assert pick["costs"]["size"] - winner["weight_bytes"] <= 256, "but for constants that happen to be equal"
    assert all(winner["verdicts"].values()) and set(winner["verdicts"]) == {"latency", "peak_memory", "size"}
