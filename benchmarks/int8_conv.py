"""INT8 kernels against ONNX Runtime's QLinearConv and QGemm, one thread, interleaved in one run.

    python benchmarks/int8_conv.py            a table
    python benchmarks/int8_conv.py --json     the bars as JSON

Each layer keeps its shape, so ONNX Runtime runs a chain of eight of it (two of the large ones; channels last: no
transposes; the cost of one session run is spread over the chain) and the kernel is called as often through ctypes.
Every round times one chain of each; medians and their ratio are printed. Both must give the same bytes before
anything is timed. The fp32 rows have no bar: they show how comparable a native fp32 column is.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnxruntime
from bars import integer_bar, report, versions, weight_bits  # type: ignore[import-not-found]  # the file beside this one
from onnx import TensorProto, helper, numpy_helper

from hwnas.kernels import fp32_conv, fp32_depthwise, int8_conv, int8_depthwise
from hwnas.kernels.builder import kernel_name
from hwnas.kernels.fp32_conv import Fp32Conv
from hwnas.kernels.fp32_depthwise import Fp32Depthwise
from hwnas.kernels.host_library import HostLibrary
from hwnas.kernels.image import Image, Window
from hwnas.kernels.int8_conv import Int8Conv
from hwnas.kernels.int8_depthwise import Int8Depthwise
from hwnas.kernels.memory import aligned_copy
from hwnas.kernels.target import parse_target

ROUNDS = 150
X_ZERO = 3


@dataclass(frozen=True)
class Layer:
    """A convolution that keeps its shape; `depthwise` and `dense` (1x1 pixel, run as QGemm by the peer)."""

    name: str
    size: int
    channels: int
    kernel: int = 3
    depthwise: bool = False
    fp32: bool = False

    @property
    def dense(self) -> bool:
        return self.size == 1

    @property
    def chain(self) -> int:
        """Copies run in a row: short enough that a round is seldom interrupted."""
        return 2 if self.kernel > 1 and not self.depthwise else 8

    @property
    def window(self) -> Window:
        return Window((self.kernel, self.kernel), (1, 1), (self.kernel // 2,) * 4)

    @property
    def images(self) -> tuple[Image, Image]:
        halo = (self.kernel // 2,) * 4
        return Image(self.size, self.size, self.channels, halo), Image(self.size, self.size, self.channels)


REFERENCE = [(56, 64), (28, 128), (14, 256), (7, 512)]
LAYERS = [
    *(Layer(f"conv 3x3 {size}x{size}x{c}", size, c) for size, c in REFERENCE),
    *(Layer(f"conv 1x1 {size}x{size}x{c}", size, c, 1) for size, c in REFERENCE),
    *(Layer(f"dense {c}", 1, c, 1) for c in (512, 1024)),
    *(Layer(f"depthwise 3x3 {size}x{size}x{c}", size, c, 3, True) for size, c in [(112, 32), *REFERENCE, (14, 576)]),
]
FLOAT_LAYERS = [
    *(Layer(f"fp32 conv 3x3 {size}x{size}x{c}", size, c, fp32=True) for size, c in REFERENCE),
    *(Layer(f"fp32 conv 1x1 {size}x{size}x{c}", size, c, 1, fp32=True) for size, c in REFERENCE[:2]),
    *(Layer(f"fp32 depthwise 3x3 {size}x{size}x{c}", size, c, 3, True, True) for size, c in REFERENCE[:2]),
]


@dataclass(frozen=True)
class Data:
    """Random pixels [H, W, C], weights [O, C / groups, K, K], bias and scale."""

    pixels: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray


def random_data(layer: Layer, rng: np.random.Generator) -> Data:
    c, depth = layer.channels, 1 if layer.depthwise else layer.channels
    shape = (c, depth, layer.kernel, layer.kernel)
    image = (layer.size, layer.size, c)
    if layer.fp32:
        spread = 1 / np.sqrt(depth * layer.kernel**2)
        weight = (rng.standard_normal(shape) * spread).astype(np.float32)
        return Data(rng.standard_normal(image).astype(np.float32), weight, np.zeros(c, np.float32), np.ones(c))
    scale = (rng.uniform(0.5, 1, c) / (128 * np.sqrt(depth * layer.kernel**2))).astype(np.float32)
    bias = rng.integers(-2000, 2000, c).astype(np.int32)
    most = 2 ** (weight_bits() - 1) - 1
    weight = rng.integers(-most, most + 1, shape).astype(np.int8)
    return Data(rng.integers(0, 256, image).astype(np.uint8), weight, bias, scale)


def peer_model(layer: Layer, data: Data, length: int) -> bytes:
    """A chain of `length` of the layer as ONNX Runtime's own fused operators."""
    operator, inputs, domain, attributes = peer_operator(layer)
    values = {
        "xs": np.float32(1),
        "xz": np.uint8(X_ZERO),
        "w": data.weight[:, :, 0, 0].T.copy() if layer.dense else data.weight,
        "ws": data.scale,
        "wz": np.zeros(layer.channels, np.int8),
        "ys": np.float32(1),
        "b": data.bias,
    }
    shape = [1, layer.channels] if layer.dense else [1, layer.size, layer.size, layer.channels]
    if layer.fp32:
        shape = [1, layer.channels, layer.size, layer.size]
    nodes = []
    for i in range(length):
        node = helper.make_node(operator, [f"x{i}", *inputs], [f"x{i + 1}"], domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        nodes.append(node)
    kind = TensorProto.FLOAT if layer.fp32 else TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x0", kind, shape)],
        [helper.make_tensor_value_info(f"x{length}", kind, shape)],
        [numpy_helper.from_array(np.asarray(values[name]), name) for name in dict.fromkeys(inputs)],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def peer_operator(layer: Layer) -> tuple[str, list[str], str, dict[str, Any]]:
    """(operator, its inputs after x, domain, attributes) of ONNX Runtime for a layer."""
    quantised = ["xs", "xz", "w", "ws", "wz"]
    pads, groups = [layer.kernel // 2] * 4, layer.channels if layer.depthwise else 1
    attributes = {"kernel_shape": [layer.kernel] * 2, "pads": pads, "group": groups}
    if layer.fp32:
        return "Conv", ["w", "b"], "", attributes
    if layer.dense:
        return "QGemm", [*quantised, "b", "ys", "xz"], "com.microsoft", {}
    return "QLinearConv", [*quantised, "ys", "xz", "b"], "com.microsoft", {**attributes, "channels_last": 1}


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def peer(layer: Layer, data: Data, length: int) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    """(run a chain, its answer as [H, W, C])."""
    x = data.pixels.transpose(2, 0, 1) if layer.fp32 else data.pixels
    x = np.ascontiguousarray(x.reshape(1, -1) if layer.dense else x[None])
    run = session(peer_model(layer, data, length))
    binding = run.io_binding()
    binding.bind_cpu_input("x0", x)
    binding.bind_output(f"x{length}")

    def answer() -> np.ndarray:
        run.run_with_iobinding(binding)
        y = binding.copy_outputs_to_cpu()[0]
        return y[0].transpose(1, 2, 0) if layer.fp32 else y.reshape(data.pixels.shape)

    return lambda: run.run_with_iobinding(binding), answer


def kernel(layer: Layer, data: Data) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    """(run the kernel once, its answer) with the tile that a short timing prefers."""
    x, y = layer.images
    target = parse_target("host")
    module: Any
    spec: Any
    packed: tuple[np.ndarray, ...]
    if layer.fp32:
        module, make = (fp32_depthwise, Fp32Depthwise) if layer.depthwise else (fp32_conv, Fp32Conv)
        spec = make(x, y, layer.window)
        packed = module.pack(spec, target, data.weight, data.bias)
    else:
        module = int8_depthwise if layer.depthwise else int8_conv
        if layer.depthwise:
            spec = Int8Depthwise(x, y, layer.window, X_ZERO)
        else:
            spec = Int8Conv(x, y, layer.window, 1, X_ZERO)
        packed = module.pack(spec, target, data.weight, data.bias, data.scale, X_ZERO)
    tiles = module.tiles(spec, target)
    library = HostLibrary([module.build(spec, target, tile) for tile in tiles], target)
    output = aligned_copy(np.zeros(y.size, data.pixels.dtype))
    source = x.embed(data.pixels, 0 if layer.fp32 else X_ZERO)
    arguments = [aligned_copy(array) for array in (source, *packed)]
    calls = [library.bound(kernel_name(spec, tile), *arguments, output) for tile in tiles]
    fastest = min(calls, key=lambda call: min(timed(call, 4) for _ in range(8)))

    def answer() -> np.ndarray:
        fastest()
        return y.extract(output)

    return fastest, answer


def timed(call: Callable[[], Any], times: int) -> float:
    """Seconds of one call, the mean of `times` in a row."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def compare(layer: Layer) -> tuple[float, float]:
    """Median microseconds of (the kernel, the peer) for one layer; both answers are checked first."""
    data = random_data(layer, np.random.default_rng(1))
    ours, our_answer = kernel(layer, data)
    _, one_answer = peer(layer, data, 1)
    theirs, _ = peer(layer, data, layer.chain)
    same = (
        np.allclose(our_answer(), one_answer(), atol=1e-3) if layer.fp32 else np.array_equal(our_answer(), one_answer())
    )
    if not same:
        raise SystemExit(f"{layer.name}: the kernel and ONNX Runtime differ")
    ours_us, theirs_us = [], []
    for _ in range(ROUNDS):
        ours_us.append(timed(ours, layer.chain) * 1e6)
        theirs_us.append(timed(theirs, 1) / layer.chain * 1e6)
    return statistics.median(ours_us), statistics.median(theirs_us)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the bars as JSON")
    parser.add_argument("--only", default="", help="only layers whose name contains this")
    options = parser.parse_args()
    bars = []
    for layer in (one for one in [*LAYERS, *FLOAT_LAYERS] if options.only in one.name):
        ours, theirs = compare(layer)
        print(f"{layer.name:28} kernel {ours:8.1f} us   onnxruntime {theirs:8.1f} us", file=sys.stderr, flush=True)
        limit = None if layer.fp32 else 1.0
        bars.append(integer_bar(f"{layer.name}: time over ONNX Runtime's", ours / theirs, limit))
    return int(report("int8_conv", bars, options.json, versions("onnxruntime")))


if __name__ == "__main__":
    raise SystemExit(main())
