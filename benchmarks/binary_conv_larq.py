"""Peer of the 1-bit benchmark, run by an interpreter that has larq-compute-engine: answers timing requests.

A request is one JSON line {"size": H, "channels": C, "mode": "default" | "indirect"}; the answer is {"ms": t}, the time
of one binary 3x3 convolution with its scale and bias within a chain of them.
"""

# Its libraries are installed in the environment of its own only.
# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import json
import os
import sys
import time
from importlib import metadata

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
answers = os.fdopen(os.dup(1), "w")  # the converter writes to standard output itself
os.dup2(2, 1)

import larq  # noqa: E402
import larq_compute_engine  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow  # noqa: E402
from larq_compute_engine.tflite.python.interpreter import Interpreter  # noqa: E402

SHORT, LONG = 1, 3


def flatbuffer(size: int, channels: int, layers: int) -> bytes:
    net = tensorflow.keras.Sequential([tensorflow.keras.layers.Input((size, size, channels), batch_size=1)])
    for _ in range(layers):
        net.add(
            larq.layers.QuantConv2D(
                channels,
                3,
                padding="same",
                pad_values=1.0,
                use_bias=False,
                input_quantizer="ste_sign",
                kernel_quantizer="ste_sign",
                kernel_constraint="weight_clip",
            )
        )
        net.add(tensorflow.keras.layers.BatchNormalization())
    return larq_compute_engine.convert_keras_model(net)


def best(run: Interpreter, x: np.ndarray) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run.predict(x)
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def main() -> None:
    prepared: dict[tuple[int, int, str], list[Interpreter]] = {}
    buffers: dict[tuple[int, int, int], bytes] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        size, channels, mode = asked["size"], asked["channels"], asked["mode"]
        x = np.random.default_rng(0).normal(size=(1, size, size, channels)).astype(np.float32)
        if (size, channels, mode) not in prepared:
            for layers in (SHORT, LONG):
                key = (size, channels, layers)
                buffers[key] = buffers.get(key) or flatbuffer(*key)
            prepared[size, channels, mode] = [
                Interpreter(buffers[size, channels, n], num_threads=1, use_indirect_bgemm=mode == "indirect")
                for n in (SHORT, LONG)
            ]
        short, long = prepared[size, channels, mode]
        ms = (best(long, x) - best(short, x)) / (LONG - SHORT)
        answers.write(json.dumps({"ms": ms, "version": metadata.version("larq-compute-engine")}) + "\n")
        answers.flush()


main()
