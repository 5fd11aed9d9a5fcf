"""1-bit 3x3 convolutions against this core's own limit, OpenVINO and larq-compute-engine: one thread, interleaved.

    python benchmarks/binary_conv.py                      a table
    python benchmarks/binary_conv.py --json               the bars as JSON
    python benchmarks/binary_conv.py --openvino PYTHON    also OpenVINO, in the environment of that interpreter
    python benchmarks/binary_conv.py --larq PYTHON        also larq-compute-engine (TensorFlow 2.15, Python 3.11)

The environment variables HWNAS_BENCH_OPENVINO and HWNAS_BENCH_LARQ stand for the options. Environments:
`pip install openvino`, and `pip install tensorflow-cpu==2.15.1 larq==0.13.3 larq-compute-engine==0.16.0 "numpy<2"
"setuptools<80"`. Every round times every engine once on every shape (the best of a few calls); medians over rounds and
medians of the rounds' ratios are printed. Our layers are called from C, as a compiled model
calls them. Kernels are first compared with their reference, and the tile of each is the fastest of those offered,
timed before the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from bars import Bar, not_run, report  # type: ignore[import-not-found]  # the file beside this one
from binary_conv_chain import chained  # type: ignore[import-not-found]  # the file beside this one
from tvm import tirx

from hwnas.kernels.binary_conv import BinaryConv, BinaryParameters, build, pack, reference, tiles
from hwnas.kernels.binary_layout import computed_macs
from hwnas.kernels.binary_nibble import PSHUFB
from hwnas.kernels.builder import KernelBuilder, Value, intrinsic, reinterpret
from hwnas.kernels.host_library import HostLibrary
from hwnas.kernels.image import Image, Window
from hwnas.kernels.memory import aligned_copy
from hwnas.kernels.packed_bits import word_count
from hwnas.kernels.target import Target, parse_target

FOLDER = Path(__file__).resolve().parent
SHAPES = [(56, 64), (28, 128), (14, 256), (7, 512)]
MODES = ("node", "chain", "residual")
CHAIN = 8
LIMIT_STEPS = 10_000
Run = Callable[[], object]


def spec_of(size: int, channels: int, mode: str) -> BinaryConv:
    """A 3x3 layer that keeps its shape: bare int32, BN + sign to bits, or BN + residual + sign in one pass."""
    words, around = word_count(channels), (1, 1, 1, 1)
    packed, image = Image(size, size, words, around), Image(size, size, channels)
    output = {"node": "int32", "chain": "bits", "residual": "float+bits"}[mode]
    return BinaryConv(
        x=packed,
        in_channels=channels,
        out_channels=channels,
        window=Window((3, 3), (1, 1), (1, 1, 1, 1)),
        output=output,
        y=None if mode == "chain" else image,
        bits=None if mode == "node" else packed,
        residual=image if mode == "residual" else None,
    )


def parameters_of(spec: BinaryConv, rng: np.random.Generator) -> BinaryParameters:
    channels = spec.out_channels
    weights = rng.choice(np.array([-1, 1], np.int8), (channels, 3, 3, channels))
    scale, bias, threshold = (rng.normal(size=(3, channels)) * 0.1).astype(np.float32)
    whole = np.rint(threshold * 50).astype(np.int32)
    return BinaryParameters(weights, scale, bias, threshold=whole if spec.output == "bits" else threshold)


@dataclass
class Layers:
    """One layer, or a chain of them with weights of their own: buffers, constants and the reference check."""

    spec: BinaryConv
    target: Target
    length: int
    rng: np.random.Generator
    parameters: list[BinaryParameters] = field(init=False)
    constants: list[list[np.ndarray]] = field(init=False)
    packed: list[np.ndarray] = field(init=False)
    floats: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        spec, rng = self.spec, self.rng
        self.parameters = [parameters_of(spec, rng) for _ in range(self.length)]
        self.constants = [[aligned_copy(c) for c in pack(spec, self.target, p)] for p in self.parameters]
        words = rng.integers(0, 2**32, spec.x.shape, dtype=np.uint32)
        self.packed = [aligned_copy(spec.x.embed(words, 0)), aligned_copy(np.zeros(spec.x.size, np.uint32))]
        size = 1 if spec.y is None else spec.y.size
        self.floats = [aligned_copy(rng.normal(size=size).astype(np.float32)) for _ in range(2)]

    def arguments(self, index: int) -> list[np.ndarray]:
        spec, here, there = self.spec, index % 2, (index + 1) % 2
        inputs = [self.packed[here]] + ([self.floats[here]] if spec.residual is not None else [])
        outputs = [self.floats[there]] if spec.y is not None else []
        outputs += [self.packed[there]] if spec.bits is not None else []
        return [*inputs, *self.constants[index], *outputs]

    def run(self, library: HostLibrary, symbol: str) -> Run:
        return chained(library.function(symbol), [self.arguments(index) for index in range(self.length)])

    def check(self, library: HostLibrary, symbol: str) -> None:
        """The first layer's outputs equal the reference's, bit for bit."""
        spec = self.spec
        residual = self.floats[0].reshape(spec.residual.shape) if spec.residual is not None else None
        right = reference(spec, spec.x.extract(self.packed[0]), self.parameters[0], residual)
        library.call(symbol, *self.arguments(0))
        outputs = [] if spec.y is None else [spec.y.extract(self.floats[1])]
        outputs += [] if spec.bits is None else [spec.bits.extract(self.packed[1])]
        for output, expected in zip(outputs, right, strict=True):
            if not np.array_equal(output.view(np.uint32), expected.view(np.uint32)):
                raise SystemExit(f"{symbol} does not equal its reference")


def best_of(run: Run, calls: int) -> float:
    """Milliseconds of the fastest of `calls` calls."""
    best = float("inf")
    for _ in range(calls):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def fastest_tile(spec: BinaryConv, target: Target, length: int) -> Run:
    """All offered tiles compiled and timed once; a run of the fastest, after the check of its outputs."""
    layers = Layers(spec, target, length, np.random.default_rng(1))
    functions = [build(spec, target, tile) for tile in tiles(spec, target)]
    library = HostLibrary(functions, target)
    symbols = [str(function.attrs["global_symbol"]) for function in functions]
    runs = {symbol: layers.run(library, symbol) for symbol in symbols}
    best = dict.fromkeys(symbols, float("inf"))
    for _ in range(5):  # in turns, so that one disturbance does not choose the tile
        for symbol, run in runs.items():
            best[symbol] = min(best[symbol], best_of(run, 10))
    fastest = min(symbols, key=lambda symbol: best[symbol])
    layers.check(library, fastest)
    return runs[fastest]


def limit(target: Target, accumulators: int) -> tirx.PrimFunc:
    """Nothing but the counting instructions, on registers: xor + VPOPCNTD + add, or PSHUFB + add."""
    k = KernelBuilder(f"limit_{target.vector_bits}_{accumulators}")
    lanes = target.vector_bits // 32
    x, y = (k.pointer(name, "uint32", lanes * accumulators) for name in "xy")
    counts = [k.register(x.load(lanes * i, lanes)) for i in range(accumulators)]
    fixed = [k.let(x.load(lanes * i, lanes)) for i in range(4)]

    def step(value: Value, other: Value) -> Value:
        if target.has_vpopcntdq:
            return value + tirx.popcount(value ^ other)
        kind = f"int8x{4 * lanes}"
        found = intrinsic(kind, PSHUFB[4 * lanes], reinterpret(other, kind), reinterpret(value, kind))
        return reinterpret(reinterpret(value, kind) + found, f"uint32x{lanes}")

    with k.loop(LIMIT_STEPS):
        for i, count in enumerate(counts):
            count.set(step(count.value, fixed[i % 4]))
    for i, count in enumerate(counts):
        y.store(lanes * i, count.value)
    return k.finish()


def limit_runs(target: Target) -> list[tuple[Run, float]]:
    """(run, multiply-accumulates of one run) for several numbers of accumulators: the best counts as the limit."""
    sizes = (8, 12, 16) if target.has_avx512bw else (6, 8, 10)
    functions = [limit(target, size) for size in sizes]
    library = HostLibrary(functions, target)
    macs = target.vector_bits if target.has_vpopcntdq else target.vector_bits // 8 * 4
    found = []
    for size, function in zip(sizes, functions, strict=True):
        x = aligned_copy(np.random.default_rng(0).integers(0, 2**32, size * 16, dtype=np.uint32))
        run = library.bound(str(function.attrs["global_symbol"]), x, aligned_copy(np.zeros_like(x)))
        found.append((run, float(LIMIT_STEPS * size * macs)))
    return found


class Peer:
    """A peer engine in its own process and environment, asked for one timing at a time."""

    def __init__(self, python: str, script: str) -> None:
        self.version = ""  # told with every timing
        self._process = subprocess.Popen(
            [python, str(FOLDER / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ms(self, size: int, channels: int, mode: str) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps({"size": size, "channels": channels, "mode": mode}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a peer process ended; run its script by hand to see why")
        answer = json.loads(line)
        self.version = str(answer["version"])
        return float(answer["ms"])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


@dataclass(frozen=True)
class Row:
    """One shape: the multiply-accumulates computed, and the times of every round: engine -> milliseconds."""

    shape: tuple[int, int]
    macs: float
    times: dict[str, list[float]]

    def median(self, engine: str) -> float:
        return statistics.median(self.times[engine])

    def ratio(self, engine: str, to: str) -> float:
        """Median over rounds of engine / to."""
        return statistics.median(a / b for a, b in zip(self.times[engine], self.times[to], strict=True))


def measure(rounds: int, openvino: Peer | None, larq: Peer | None) -> list[Row]:
    """Every engine on every shape, `rounds` times over."""
    host, avx2 = parse_target("host"), parse_target("x86-avx2")
    runs = {
        shape: {mode: fastest_tile(spec_of(*shape, mode), host, 1 if mode == "node" else CHAIN) for mode in MODES}
        for shape in SHAPES
    }
    limits = {"limit": limit_runs(host)} if host.has_vpopcntdq else {}
    if avx2.arch == host.arch and avx2.features <= host.features:
        limits["avx2 limit"] = limit_runs(avx2)
        for shape in SHAPES:
            runs[shape]["avx2 node"] = fastest_tile(spec_of(*shape, "node"), avx2, 1)
    # Products with padding are skipped: the limit is that of the rest, so that skipping does not count as speed.
    rows = [Row(shape, float(computed_macs(spec_of(*shape, "node"), host)), {}) for shape in SHAPES]
    for _ in range(rounds):
        for row in rows:
            found = {name: best_of(run, 10) for name, run in runs[row.shape].items()}
            found |= {mode: found[mode] / CHAIN for mode in MODES if mode != "node"}
            for name, candidates in limits.items():  # the time the limit would give this layer
                found[name] = min(best_of(run, 3) / macs for run, macs in candidates) * row.macs
            if openvino is not None:
                found |= {f"openvino {mode}": openvino.ms(*row.shape, mode) for mode in MODES}
            if larq is not None:
                found |= {f"larq {mode}": larq.ms(*row.shape, mode) for mode in ("default", "indirect")}
            for name, ms in found.items():
                row.times.setdefault(name, []).append(ms)
    return rows


LARQ_NOTE = "larq-compute-engine has no optimised x86 path: its 1-bit GEMM is its portable reference there"


def bars(rows: Sequence[Row], peers: Mapping[str, str]) -> list[Bar]:
    """What must hold, shape by shape; what this machine or environment cannot try is a row that says why."""
    found = []
    for row in rows:
        name = "{0}x{0}x{1}".format(*row.shape)
        found += _limits(row, name)
        for mode, most in (("node", 1.05), ("chain", 0.95), ("residual", 0.85)):
            bar = f"{name}: {mode}, time over OpenVINO's"
            if "openvino" in peers:
                found.append(Bar(bar, row.ratio(mode, f"openvino {mode}"), most, "at most"))
            else:
                found.append(not_run(bar, "no interpreter with OpenVINO was named (--openvino)", most, "at most"))
        bar = f"{name}: times faster than larq-compute-engine's faster flag"
        if "larq-compute-engine" in peers:
            # Its layers give floats and quantise them again: the kernel that writes both is the like of that.
            faster = min(row.ratio("larq default", "residual"), row.ratio("larq indirect", "residual"))
            found.append(Bar(bar, faster, note=LARQ_NOTE))
        else:
            found.append(not_run(bar, "no interpreter with larq-compute-engine was named (--larq)"))
    return found


def _limits(row: Row, name: str) -> list[Bar]:
    """The shares of what this core's counting instructions alone would take."""
    popcount = f"{name}: share of the xor + popcount + add limit"
    nibbles = f"{name}: AVX2, share of the nibble-table limit"
    return [
        Bar(popcount, row.ratio("limit", "node"), 0.85)
        if "limit" in row.times
        else not_run(popcount, "this machine has no VPOPCNTDQ", 0.85),
        Bar(nibbles, row.ratio("avx2 limit", "avx2 node"), 0.60)
        if "avx2 limit" in row.times
        else not_run(nibbles, "this machine has no AVX2", 0.60),
    ]


def table(rows: Sequence[Row]) -> str:
    """Median milliseconds, engines by shapes."""
    names = list(rows[0].times)
    head = ["engine (median ms)", *(f"{size}x{size}x{channels}" for size, channels in SHAPES)]
    body = [[name, *(f"{row.median(name):.4f}" for row in rows)] for name in names]
    body.append(["G multiply-accumulates / s, node", *(f"{row.macs / row.median('node') / 1e6:.0f}" for row in rows)])
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *body]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the bars as JSON")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--openvino", default=os.environ.get("HWNAS_BENCH_OPENVINO"), metavar="PYTHON")
    parser.add_argument("--larq", default=os.environ.get("HWNAS_BENCH_LARQ"), metavar="PYTHON")
    options = parser.parse_args()
    openvino = Peer(options.openvino, "binary_conv_openvino.py") if options.openvino else None
    larq = Peer(options.larq, "binary_conv_larq.py") if options.larq else None
    peers = {"openvino": openvino, "larq-compute-engine": larq}
    try:
        rows = measure(options.rounds, openvino, larq)
    finally:
        for peer in peers.values():
            if peer is not None:
                peer.close()
    if not options.json:
        print(table(rows))
    named = {name: peer.version for name, peer in peers.items() if peer is not None}
    return int(report("binary_conv", bars(rows, named), options.json, named))


if __name__ == "__main__":
    sys.exit(main())
