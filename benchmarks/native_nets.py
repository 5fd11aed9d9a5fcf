"""Whole nets as native libraries against ONNX Runtime, one thread, interleaved in one run.

    python benchmarks/native_nets.py                 a table with medians and the load average
    python benchmarks/native_nets.py --json          the bars as JSON
    python benchmarks/native_nets.py --run runs/NAME the winners of that run; default: runs/quickstart where it is

Every round times a few runs of one engine, then of the other; a ratio is between medians. Before anything is timed both
engines must agree: INT8 nets bit for bit, nets with float sums within their rounding. The 1-bit net is compared with
its fp32 twin (the same architecture, every block fp32) in ONNX Runtime.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnx
import onnxruntime
from bars import Bar, integer_bar, not_run, report, versions, weight_bits  # type: ignore[import-not-found]  # the file beside this one

from hwnas.export.native import NativeModel, compile_onnx
from hwnas.export.onnx import network_model
from hwnas.network import Network, Node, Operator
from hwnas.spaces.resnet_binary import resnet_binary

ROUNDS = 40
ROUND_SECONDS = 0.01
#: MobileNetV2's table 2 (arXiv:1801.04381): expansion, channels, blocks, stride of the first
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@dataclass(frozen=True)
class Contest:
    """`ours` runs as a native library, `theirs` in ONNX Runtime; `limit` of their ratio, None: only shown."""

    name: str
    ours: onnx.ModelProto
    theirs: onnx.ModelProto
    limit: float | None
    exact: bool


def mobilenet_v2(width: float, size: int, precision: str, classes: int = 1000) -> Network:
    """MobileNetV2 with a width multiplier, ReLU for ReLU6 (the codes saturate anyway)."""
    channels = _divisible(32 * width)
    shape: tuple[int, ...] = (channels, -(-size // 2), -(-size // 2))
    nodes = (
        [] if precision == "fp32" else [Node("in", Operator.of("convert", (3, size, size), (3, size, size), precision))]
    )
    nodes.append(
        Node(
            "stem", Operator.of("conv_bn_act", (3, size, size), shape, precision, kernel=3, stride=2, activation="relu")
        )
    )
    for stage, (expansion, base, blocks, first_stride) in enumerate(MOBILENET_V2):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            out = (_divisible(base * width), -(-shape[1] // stride), -(-shape[2] // stride))
            nodes.append(
                Node(
                    f"s{stage}b{block}",
                    Operator.of(
                        "inverted_residual",
                        shape,
                        out,
                        precision,
                        kernel=3,
                        stride=stride,
                        expansion=expansion,
                        se=False,
                        activation="relu",
                    ),
                )
            )
            shape = out
    last = (max(1280, _divisible(1280 * width)), *shape[1:])
    nodes.append(
        Node("last", Operator.of("conv_bn_act", shape, last, precision, kernel=1, stride=1, activation="relu"))
    )
    nodes.append(Node("head", Operator.of("pool_dense", last, (classes,), precision, classes=classes)))
    if precision != "fp32":
        nodes.append(Node("out", Operator.of("convert", (classes,), (classes,), "fp32")))
    return Network.chain(nodes)


def _divisible(value: float) -> int:
    """MobileNet's rounding of widths to multiples of 8, never down by more than a tenth."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def residual_net(
    precision: str, resolution: int, stem: int, widths: tuple[int, ...], depth: int, classes: int, channels: int = 3
) -> Network:
    """A net of the space that the quickstart searches, every block in one precision."""
    space = resnet_binary(
        channels,
        classes,
        resolutions=(resolution,),
        stem_width=stem,
        stem_stride=2,
        widths=[[w] for w in widths],
        depths=(depth,),
        strides=[1] + [2] * (len(widths) - 1),
        kernels=(3,),
        precisions=("fp32", "int8", "w1a1"),
    )
    ends = "fp32" if precision == "fp32" else "int8"
    chosen = {c.name: c.options[0] for c in space.choices}
    for choice in space.choices:
        if choice.name.endswith("precision"):
            chosen[choice.name] = precision if precision in choice.options else ends
    return space.lower(space.architecture(chosen))


def contests() -> Iterator[Contest]:
    """The nets of the bars, then some that are only shown."""
    for width, size in ((0.35, 96), (1.0, 224)):
        model = network_model(mobilenet_v2(width, size, "int8"), weight_bits=weight_bits())
        yield Contest(f"MobileNetV2 {width} at {size}, INT8", model, model, 0.9, True)
    quick = {"resolution": 16, "stem": 32, "widths": (64, 128), "depth": 2, "classes": 10, "channels": 1}
    nets = {p: network_model(residual_net(p, **quick), 0, weight_bits()) for p in ("fp32", "int8", "w1a1")}  # type: ignore[arg-type]
    yield Contest("quickstart space, 64-128 x 2, INT8", nets["int8"], nets["int8"], 0.9, True)
    yield Contest("quickstart space, 64-128 x 2, 1-bit / its fp32 twin", nets["w1a1"], nets["fp32"], 0.5, False)
    large = {"resolution": 224, "stem": 64, "widths": (64, 128, 256, 512), "depth": 2, "classes": 1000}
    nets = {p: network_model(residual_net(p, **large), 0, weight_bits()) for p in ("fp32", "int8", "w1a1")}  # type: ignore[arg-type]
    yield Contest("ResNet-18-like at 224, INT8", nets["int8"], nets["int8"], 0.9, True)
    yield Contest("ResNet-18-like at 224, 1-bit / its fp32 twin", nets["w1a1"], nets["fp32"], 0.5, False)
    yield Contest("ResNet-18-like at 224, fp32", nets["fp32"], nets["fp32"], None, False)


def shipped(folder: Path) -> Iterator[Contest]:
    """The winners that a run shipped: INT8 against itself in ONNX Runtime, 1-bit against its fp32 twin there."""
    for path in sorted(folder.glob("export/*/model.*.onnx")):
        model, target = onnx.load(path), path.parent.name
        if path.name == "model.int8.onnx":
            yield Contest(f"{folder.name}'s winner {target}", model, model, 0.9, True)
        if path.name == "model.binary.onnx":
            twin = onnx.load(path.with_name("model.fp32.onnx"))
            yield Contest(f"{folder.name}'s winner {target} / its fp32 twin", model, twin, 0.5, False)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def compare(contest: Contest, folder: Path, cache: Path) -> tuple[float, float, dict[str, Any]]:
    """(our median us, their median us, our manifest) after both engines agreed on our model."""
    artifact = compile_onnx(contest.ours, "host", folder, cache=cache)
    native = NativeModel(folder)
    batch = np.random.default_rng(0).standard_normal((4, *native.input_shape[1:])).astype(np.float32)
    reference = session(contest.ours)
    expected = np.concatenate([reference.run(None, {"input": sample[None]})[0] for sample in batch])
    _must_agree(contest, native(batch), expected)
    peer = session(contest.theirs)
    binding = peer.io_binding()
    binding.bind_cpu_input("input", batch[:1])
    binding.bind_output("output")
    ours, theirs = interleaved(native.run, lambda: peer.run_with_iobinding(binding))
    return ours, theirs, dict(artifact.manifest)


def _must_agree(contest: Contest, found: np.ndarray, expected: np.ndarray) -> None:
    if contest.exact and not np.array_equal(found, expected):
        raise SystemExit(f"{contest.name}: the library and ONNX Runtime differ by {np.abs(found - expected).max()}")
    # float heads and float stems sum in another order: a thousandth of the largest logit is far above that
    if np.abs(found - expected).max() > 1e-3 * np.abs(expected).max():
        raise SystemExit(f"{contest.name}: the library and ONNX Runtime differ by {np.abs(found - expected).max()}")


def interleaved(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[float, float]:
    """Median microseconds a run of each, measured in turns."""
    loops = [max(1, round(ROUND_SECONDS / timed(call, 3))) for call in (first, second)]
    samples: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for call, loop, found in zip((first, second), loops, samples, strict=True):
            found.append(timed(call, loop) * 1e6)
    return statistics.median(samples[0]), statistics.median(samples[1])


def timed(call: Callable[[], Any], times: int) -> float:
    """Seconds of one call, the mean of `times` in a row."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def main() -> int:
    """Prints the bars; exit 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the bars as JSON")
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"), help="a run whose winners are timed")
    parser.add_argument("--only", default="", help="only nets whose name contains this")
    options = parser.parse_args()
    bars = []
    with tempfile.TemporaryDirectory() as work:
        todo = [*contests(), *shipped(options.run)]
        for index, contest in enumerate(c for c in todo if options.only in c.name):
            ours, theirs, manifest = compare(contest, Path(work) / str(index), Path(work) / "kernels")
            print(
                f"{contest.name}: native {ours:.1f} us, ONNX Runtime {theirs:.1f} us, ratio {ours / theirs:.3f}, arena "
                f"{manifest['planned_bytes']} B of at least {manifest['lower_bound_bytes']} B, load "
                f"{os.getloadavg()[0]:.1f}",
                file=sys.stderr,
            )
            bars.append(integer_bar(f"{contest.name}: native / ONNX Runtime, latency", ours / theirs, contest.limit))
            bars.append(Bar(f"{contest.name}: arena / lower bound", 1 + manifest["arena_overhead"], None, "at most"))
    if not options.run.is_dir() and not options.only:
        why = f"no {options.run}: make quickstart writes it"
        bars.append(not_run("winners of the quickstart: native / ONNX Runtime, latency", why, 0.9, "at most"))
    return int(report("native_nets", bars, options.json, versions("onnxruntime")))


if __name__ == "__main__":
    raise SystemExit(main())
