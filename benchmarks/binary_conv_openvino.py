"""Peer of the 1-bit benchmark, run by an interpreter that has OpenVINO: answers timing requests on standard input.

A request is one JSON line {"size": H, "channels": C, "mode": "node" | "chain" | "residual"}; the answer is
{"ms": t}: the BinaryConvolution node's own time, or the time of one layer within a chain of layers.
"""

# Its libraries are installed in the environment of its own only.
# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import json
import sys
import time

import numpy as np
import openvino as ov
from openvino import opset1

KEEP_ALIVE: list[np.ndarray] = []
CALLS = 10  # the best of them is one timing
SHORT, LONG = 2, 10  # layers; the difference of two chains leaves out what happens once per inference


def sign(value: ov.Output, channels: int) -> ov.Output:
    """1 where value > threshold, else 0 (the convolution's 1 and 0 stand for +1 and -1)."""
    threshold = np.full((1, channels, 1, 1), 0.01, np.float32)
    zero, one = np.zeros_like(threshold), np.ones_like(threshold)
    return opset1.fake_quantize(value, threshold, threshold, zero, one, 2)


def convolution(value: ov.Output, channels: int, rng: np.random.Generator) -> ov.Output:
    bits = rng.integers(0, 2, (channels, channels, 3, 3), dtype=np.uint8)
    packed = np.packbits(bits, bitorder="little")
    KEEP_ALIVE.append(packed)
    tensor = ov.Tensor(packed, ov.Shape(bits.shape), ov.Type.u1)
    weights = ov.op.Constant(tensor, shared_memory=True)
    KEEP_ALIVE.append(tensor)
    return opset1.binary_convolution(value, weights, [1, 1], [1, 1], [1, 1], [1, 1], "xnor-popcount", 0.0)


def model(size: int, channels: int, layers: int, mode: str) -> ov.Model:
    rng = np.random.default_rng(0)
    x = opset1.parameter([1, channels, size, size], np.float32)
    stream = x
    for _ in range(layers):
        value = convolution(sign(stream, channels), channels, rng)
        if mode != "node":
            scale, bias = rng.normal(size=(2, 1, channels, 1, 1)).astype(np.float32)
            value = opset1.add(opset1.multiply(value, scale), bias)
        stream = opset1.add(value, stream) if mode == "residual" else value
    return ov.Model([stream], [x])


class Timed:
    """A compiled model and its request."""

    def __init__(self, net: ov.Model, size: int, channels: int, profile: bool) -> None:
        options = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "PERF_COUNT": profile}
        self.request = ov.Core().compile_model(net, "CPU", options).create_infer_request()
        x = np.random.default_rng(1).normal(size=(1, channels, size, size)).astype(np.float32)
        self.request.set_input_tensor(ov.Tensor(x))
        for _ in range(3):
            self.request.infer()

    def wall(self) -> float:
        best = float("inf")
        for _ in range(CALLS):
            start = time.perf_counter()
            self.request.infer()
            best = min(best, time.perf_counter() - start)
        return best * 1e3

    def node(self) -> float:
        times = []
        for _ in range(CALLS):
            self.request.infer()
            found = [row for row in self.request.profiling_info if row.node_type == "BinaryConvolution"]
            times.append(sum(row.real_time.total_seconds() for row in found) * 1e3)
        return min(times)


def main() -> None:
    prepared: dict[tuple[int, int, str], list[Timed]] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        size, channels, mode = asked["size"], asked["channels"], asked["mode"]
        key = (size, channels, mode)
        if key not in prepared:
            counts = (1,) if mode == "node" else (SHORT, LONG)
            prepared[key] = [Timed(model(size, channels, n, mode), size, channels, mode == "node") for n in counts]
        nets = prepared[key]
        ms = nets[0].node() if mode == "node" else (nets[1].wall() - nets[0].wall()) / (LONG - SHORT)
        print(json.dumps({"ms": ms, "version": ov.__version__}), flush=True)


main()
