"""Results with made-up figures, for drawing: one as a run usually ends, one of everything that could break a page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwnas.report.results import (
    Block,
    Card,
    Dataset,
    Device,
    FrontPoint,
    Limit,
    Reach,
    Results,
    Role,
    Row,
    Scalar,
    Ship,
    Target,
    Trial,
)

FURTHER = {"epochs": 12.0, "inherited_accuracy": 0.972, "accuracy": 0.989, "seconds": 31.0}


def row(precision: str, engine: str, role: Role, accuracy: float, predicted: float, measured: float, ok: bool) -> Row:
    """An exported file of the target that its role and engine name."""
    size = round(measured * 6000)
    return Row(
        precision, engine, role, accuracy, predicted, measured, measured * 1.02, measured * 1.09, size, 12288, None, ok,
        "ok: bit-equal on 359 samples (onnxruntime 1.22.0)", f"export/{precision}-{engine}/{role}-{measured}",
        weight_bytes=round(size * 0.8), p99_us=measured * 1.4, samples=642, file_bytes=round(size * 1.1),
        arena_bytes=16960 if engine == "tvm" else None, float_accuracy=accuracy + 0.02, validation_accuracy=accuracy,
        validation_loss=0.05, verdicts={"latency": ok}, trained_further=FURTHER if role == "winner" else None,
    )  # fmt: skip


def target(precision: str, engine: str, latency_us: float, rows: tuple[Row, ...]) -> Target:
    """A target with sixty trials, a front, five blocks and an architecture."""
    rng = np.random.default_rng(0)
    costs = [float(latency_us * rng.uniform(0.4, 1.3)) for _ in range(60)]
    names = ("stem", "s0.b0", "s0.b1", "s1.b0", "head")
    shape = f"bireal/{precision} (32, 16, 16) -> (64, 8, 8) kernel=3 stride=2"
    architecture: dict[str, Scalar] = {"resolution": 16, "s0.depth": 2, "s0.b0.kernel": 3, "s0.b0.precision": precision}
    return Target(
        precision, engine, architecture,
        tuple(Block(name, shape, precision, 3.0 + i, 9.0 + i) for i, name in enumerate(names)), rows,
        tuple(FrontPoint(0.98 - d, {"latency": latency_us * (1 - 6 * d)}, {"resolution": 16}) for d in (0.04, 0.0)),
        tuple(Trial(0.97 - float(rng.exponential(0.012)), {"latency": cost}, precision) for cost in costs),
    )  # fmt: skip


def finished() -> Results:
    """As a run usually ends: three targets, one of them over the limit, and a file to ship."""
    int8_ort = (row("int8", "onnxruntime", "winner", 0.9777, 22.0, 15.2, True), _twin("onnxruntime", 11.7, True),
                _twin("tvm", 9.6, True))  # fmt: skip
    int8_tvm = (row("int8", "tvm", "winner", 0.9944, 17.6, 18.1, True), _twin("onnxruntime", 72.1, False))
    binary = (row("w1a1", "tvm", "winner", 0.9777, 8.5, 52.7, False), _twin("onnxruntime", 1023.0, False))
    return Results(
        "quickstart", Device("local", "AMD EPYC 7B13 64-Core Processor", "0123456789abcdef"),
        Dataset("digits", 10, (1, 16, 16), 1078, 360, 359), (Limit("latency", "us", 50.0),),
        (target("int8", "onnxruntime", 20.0, int8_ort), target("int8", "tvm", 18.0, int8_tvm),
         target("w1a1", "tvm", 8.0, binary)),
        cards={name: Card(0.034, 0.95, 0.991, 0.012, 0.11, 0.93, 20) for name in ("onnxruntime-int8", "tvm-w1a1")},
        linear_baseline_accuracy=0.9638, seconds={"measure": 60.0, "train": 80.0, "search": 20.0, "total": 165.0},
        reachable=(Reach("int8-tvm", "latency", "us", 3.1, 88.0),),
        versions={"hwnas": "0.1.0", "onnxruntime": "1.22.0"},
        command="hwnas run examples/quickstart.yaml", created="2026-11-24T21:00:00+00:00",
        notes=("int8-tvm: 4096 architectures proposed, 60 different ones scored, 1200 over a limit",),
        ship=Ship(int8_tvm[0].file, "int8", "tvm", "it is the most accurate of 4 files within latency <= 50.0 us"),
        earlier=(row("int8", "onnxruntime", "winner", 0.96, 30.0, 31.0, True),),
        drift={"onnxruntime-int8": -0.31, "tvm-w1a1": 0.012},
    )  # fmt: skip


def _twin(engine: str, measured: float, ok: bool) -> Row:
    return row("fp32", engine, "fp32 twin", 0.9972, measured * 1.15, measured, ok)


def awkward() -> Results:
    """Long names without a space, three limits, nothing to ship, seconds instead of microseconds, no baseline."""
    results, long = finished(), "a-very-long-name-without-any-space-" * 6
    limits = (Limit("latency", "us", 2e6), Limit("size", "bytes", 5e7), Limit("peak_memory", "bytes", 12e6))
    slow = replace(
        row("mixed", "tvm", "winner", 1.0, 1.9e6, 2.4e6, False), file=long, verified=long, limit_ok=False,
        verdicts={"latency": False, "size": False, "peak_memory": True},
    )  # fmt: skip
    return replace(
        results, run=long[:60], device=Device(long, long, "0" * 64), limits=limits, statistic="p90",
        targets=(target("mixed", "tvm", 1.9e6, (slow,)),), ship=Ship(None, None, None, f"no file fits; {long}"),
        notes=(long,), command=f"hwnas run {long}.yaml", earlier=(slow,), linear_baseline_accuracy=None,
    )  # fmt: skip


WINNER = Row(
    "int8", "onnxruntime", "winner", 0.98, 48.0, 50.0, 51.0, 60.0, 4096, 900, None, True, "bit-exact", "m.int8.onnx"
)
TWIN = replace(WINNER, precision="fp32", role="fp32 twin", accuracy=0.985, measured_us=100.0, limit_ok=None)


def results_with(*rows: Row, **changes: object) -> Results:
    target = Target(
        precision="int8",
        engine="onnxruntime",
        architecture={"resolution": 16, "s0.depth": 2, "s0.b0.kernel": 3},
        blocks=(Block("stem", "conv_bn_act/int8 (1, 16, 16) -> (8, 16, 16)", "int8", 10.0, 25.0),),
        rows=rows,
        front=(FrontPoint(0.97, {"latency": 40.0}, {"resolution": 16}),),
        trials=(Trial(0.97, {"latency": 40.0}, "int8"), Trial(0.90, {"latency": 30.0}, "int8")),
    )
    results = Results(
        run="tiny",
        device=Device("null", "made up", "0123456789abcdef"),
        dataset=Dataset("digits", 10, (1, 16, 16), 1200, 250, 347),
        limits=(Limit("latency", "us", 60.0),),
        targets=(target,),
        cards={"onnxruntime-int8": Card(0.02, 1.0, 0.99, 0.01, 0.05, 0.95, 20)},
        seconds={"measure": 1.0, "train": 3.0},
    )
    return replace(results, **changes)  # type: ignore[arg-type]
