"""Small ONNX nets in the exporter's contract, with random weights: what the native compiler is tested on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.exact import exact_session

OPSET = 21


def binary_conv_function() -> onnx.FunctionProto:
    """hwnas::BinaryConv with a body of standard operators: exact in any runtime.

    Signs as uint8 1/0 with zero points that make them 2 * bit - 1 would need a half; instead the body convolves
    int8 signs shifted to uint8 (0 -> -1, 2 -> +1, zero point 1), whose padding value 1 is an exact zero.
    """
    node = helper.make_node
    body = [
        node("Constant", [], ["eight"], value=_tensor(np.arange(8, dtype=np.uint8).reshape(1, 1, 1, 1, 8))),
        node("Constant", [], ["two"], value=_tensor(np.array(2, np.uint8))),
        node("Constant", [], ["one"], value=_tensor(np.array(1, np.uint8))),
        node("Constant", [], ["zero"], value=_tensor(np.array(0, np.uint8))),
        node("Constant", [], ["tail"], value=_tensor(np.array([-1], np.int64))),
        node("Constant", [], ["begin"], value=_tensor(np.array([0], np.int64))),
        node("Constant", [], ["axis3"], value=_tensor(np.array([3], np.int64))),
        node("Constant", [], ["flat"], value=_tensor(np.array([0, 0, 0, -1], np.int64))),
        node("Constant", [], ["column"], value=_tensor(np.array([-1, 1, 1], np.int64))),
        _reference(node("Constant", [], ["count"]), "value_int", "in_channels", onnx.AttributeProto.INT),
        node("Reshape", ["count", "tail"], ["counts"]),
        node("Unsqueeze", ["weight", "tail"], ["bytes"]),
        node("BitShift", ["bytes", "eight"], ["shifted"], direction="RIGHT"),
        node("BitwiseAnd", ["shifted", "one"], ["bits"]),
        node("Reshape", ["bits", "flat"], ["rows"]),
        node("Slice", ["rows", "begin", "counts", "axis3"], ["valid"]),
        node("Mul", ["valid", "two"], ["doubled"]),
        node("Transpose", ["doubled"], ["kernel"], perm=[0, 3, 1, 2]),
        node("Reshape", ["threshold", "column"], ["limits"]),
        node("GreaterOrEqual", ["x", "limits"], ["above"]),
        node("Where", ["above", "two", "zero"], ["signs"]),
        _conv_integer(),
        node("Cast", ["dot"], ["dots"], to=TensorProto.FLOAT),
        node("Reshape", ["scale", "column"], ["scales"]),
        node("Mul", ["dots", "scales"], ["scaled"]),
        node("Reshape", ["bias", "column"], ["biases"]),
        node("Add", ["scaled", "biases"], ["y"]),
    ]
    return helper.make_function(
        "hwnas",
        "BinaryConv",
        ["x", "threshold", "weight", "scale", "bias"],
        ["y"],
        body,
        [helper.make_opsetid("", OPSET)],
        ["in_channels", "kernel_shape", "strides", "pads", "dilations", "group"],
    )


def _tensor(array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(array)


def _reference(node: onnx.NodeProto, name: str, outer: str, kind: int) -> onnx.NodeProto:
    item = node.attribute.add()
    item.name, item.ref_attr_name, item.type = name, outer, kind
    return node


def _conv_integer() -> onnx.NodeProto:
    node = helper.make_node("ConvInteger", ["signs", "kernel", "one", "one"], ["dot"])
    for name in ("kernel_shape", "strides", "pads", "dilations"):
        _reference(node, name, name, onnx.AttributeProto.INTS)
    return _reference(node, "group", "group", onnx.AttributeProto.INT)


#: 7-bit weights: without VNNI, ONNX Runtime's convolution of uint8 by int8 adds two products in 16 bits, which saturate
MOST_WEIGHT = 63


@dataclass
class Net:
    """Builds one model node by node; every method takes and returns tensor names."""

    seed: int = 0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    scales: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def node(self, op: str, inputs: list[str], domain: str = "", **attributes: object) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def quantise(self, x: str, scale: float, zero_point: int) -> str:
        pair = [self.constant(np.array(scale, np.float32)), self.constant(np.array(zero_point, np.uint8))]
        name = self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, *pair]), *pair])
        self.scales[name] = scale
        return name

    def conv_int(
        self,
        x: str,
        channels: int,
        out: int,
        kernel: int,
        stride: int = 1,
        group: int = 1,
        scale: float = 0.05,
        zero_point: int = 0,
        pad: int | None = None,
    ) -> str:
        size = (out, channels // group, kernel, kernel)
        weight = self.random.integers(-MOST_WEIGHT, MOST_WEIGHT + 1, size).astype(np.int8)
        depth = channels // group * kernel * kernel
        w_scale = (self.random.uniform(0.5, 1.5, out) / (60 * depth**0.5)).astype(np.float32)
        b_scale = np.float32(self.scales[x]) * w_scale
        bias = self.random.integers(-2000, 2000, out).astype(np.int32)
        inputs = [x, self._dequantised(weight, w_scale), self._dequantised(bias, b_scale)]
        pad = kernel // 2 if pad is None else pad
        y = self.node("Conv", inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=group)
        return self.quantise(y, scale, zero_point)

    def gemm_int(self, x: str, channels: int, out: int, scale: float = 0.05, zero_point: int = 128) -> str:
        weight = self.random.integers(-MOST_WEIGHT, MOST_WEIGHT + 1, (out, channels)).astype(np.int8)
        w_scale = (self.random.uniform(0.5, 1.5, out) / (60 * channels**0.5)).astype(np.float32)
        bias = self.random.integers(-2000, 2000, out).astype(np.int32)
        inputs = [x, self._dequantised(weight, w_scale), self._dequantised(bias, np.float32(self.scales[x]) * w_scale)]
        return self.quantise(self.node("Gemm", inputs, transB=1), scale, zero_point)

    def _dequantised(self, integers: np.ndarray, scale: np.ndarray) -> str:
        zero = self.constant(np.zeros(len(scale), integers.dtype))
        return self.node("DequantizeLinear", [self.constant(integers), self.constant(scale), zero], axis=0)

    def op_int(self, op: str, inputs: list[str], scale: float, zero_point: int, **attributes: object) -> str:
        return self.quantise(self.node(op, inputs, **attributes), scale, zero_point)

    def flatten(self, x: str) -> str:
        name = self.node("Flatten", [x])
        self.scales[name] = self.scales.get(x, 1.0)
        return name

    def conv(self, x: str, channels: int, out: int, kernel: int, stride: int = 1, group: int = 1) -> str:
        depth = channels // group * kernel * kernel
        weight = (self.random.normal(size=(out, channels // group, kernel, kernel)) / depth**0.5).astype(np.float32)
        bias = self.random.normal(size=out).astype(np.float32) * np.float32(0.1)
        return self.node(
            "Conv",
            [x, self.constant(weight), self.constant(bias)],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
            group=group,
        )

    def gemm(self, x: str, channels: int, out: int) -> str:
        weight = (self.random.normal(size=(out, channels)) / channels**0.5).astype(np.float32)
        bias = self.random.normal(size=out).astype(np.float32) * np.float32(0.1)
        return self.node("Gemm", [x, self.constant(weight), self.constant(bias)], transB=1)

    def binary_conv(self, x: str, channels: int, out: int, kernel: int, stride: int = 1, group: int = 1) -> str:
        packed = np.packbits(
            self.random.integers(0, 2, (out, kernel, kernel, channels // group)).astype(np.uint8),
            axis=-1,
            bitorder="little",
        )
        threshold = self.random.normal(size=channels).astype(np.float32) * np.float32(0.2)
        scale = (
            self.random.choice([-1, 1], out)
            * self.random.uniform(0.5, 1.5, out)
            / (channels // group * kernel * kernel) ** 0.5
        ).astype(np.float32)
        bias = self.random.normal(size=out).astype(np.float32) * np.float32(0.1)
        constants = [self.constant(a) for a in (threshold, packed, scale, bias)]
        return self.node(
            "BinaryConv",
            [x, *constants],
            domain="hwnas",
            in_channels=channels // group,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
            dilations=[1, 1],
            group=group,
        )

    def prelu(self, x: str, channels: int) -> str:
        slope = self.random.uniform(0.05, 0.4, (channels, 1, 1)).astype(np.float32)
        return self.node("PRelu", [x, self.constant(slope)])

    def model(self, output: str, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "output"
        assert output == self.nodes[-1].name
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, input_shape)],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, output_shape)],
            self.weights,
        )
        model = helper.make_model(
            graph,
            functions=[binary_conv_function()],
            ir_version=10,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("hwnas", 1)],
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def int8_net(size: int = 16, width: int = 16, classes: int = 10, seed: int = 0) -> onnx.ModelProto:
    """Stem, an inverted residual with a shortcut, a strided depthwise one, pool and classifier, all QDQ."""
    net = Net(seed)
    x = net.quantise("input", 0.02, 114)
    x = net.conv_int(x, 3, width, 3, 2, scale=0.03)
    y = net.conv_int(x, width, 2 * width, 1, scale=0.04)
    y = net.conv_int(y, 2 * width, 2 * width, 3, group=2 * width, scale=0.03)
    y = net.conv_int(y, 2 * width, width, 1, scale=0.05, zero_point=120)
    x = net.op_int("Add", [x, y], 0.06, 100)
    x = net.conv_int(x, width, 3 * width, 1, scale=0.04)
    x = net.conv_int(x, 3 * width, 3 * width, 3, 2, group=3 * width, scale=0.03)
    x = net.conv_int(x, 3 * width, 2 * width + 1, 1, scale=0.05, zero_point=128)
    x = net.op_int("GlobalAveragePool", [x], 0.02, 128)
    x = net.gemm_int(net.flatten(x), 2 * width + 1, classes)
    return net.model(x, (1, 3, size, size), (1, classes))


def squeeze_excite_int8_net(size: int = 12, width: int = 16, seed: int = 1) -> onnx.ModelProto:
    """HardSwish by table, squeeze-excite, pools and a concat, all QDQ; the output is an image."""
    net = Net(seed)
    x = net.quantise("input", 0.02, 114)
    x = net.conv_int(x, 3, width, 3, 1, scale=0.05, zero_point=128)
    x = net.op_int("HardSwish", [x], 0.03, 12)
    s = net.op_int("GlobalAveragePool", [x], 0.02, 30)
    s = net.conv_int(s, width, 8, 1, scale=0.03)
    s = net.conv_int(s, 8, width, 1, scale=0.05, zero_point=128)
    s = net.op_int("HardSigmoid", [s], 1 / 255, 0, alpha=1 / 6, beta=0.5)
    x = net.op_int("Mul", [x, s], 0.02, 10)
    a = net.op_int("AveragePool", [x], 0.02, 10, kernel_shape=[2, 2], strides=[2, 2])
    b = net.op_int("MaxPool", [x], 0.02, 10, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = net.op_int("Concat", [a, b], 0.02, 10, axis=1)
    x = net.conv_int(x, 2 * width, 6, 3, scale=0.05, zero_point=128)
    return net.model(x, (1, 3, size, size), (1, 6, size // 2, size // 2))


def fp32_net(size: int = 12, width: int = 12, classes: int = 7, seed: int = 2) -> onnx.ModelProto:
    """Convolution with every activation, squeeze-excite, a residual and a classifier, in float32."""
    net = Net(seed)
    x = net.node("HardSwish", [net.conv("input", 3, width, 3, 2)])
    y = net.node("Relu", [net.conv(x, width, 3 * width, 1)])
    y = net.node("Relu", [net.conv(y, 3 * width, 3 * width, 5, group=3 * width)])
    s = net.node("GlobalAveragePool", [y])
    s = net.node("Relu", [net.conv(s, 3 * width, 8, 1)])
    s = net.node("HardSigmoid", [net.conv(s, 8, 3 * width, 1)], alpha=1 / 6, beta=0.5)
    y = net.node("Mul", [y, s])
    y = net.conv(y, 3 * width, width, 1)
    x = net.node("Add", [y, x])
    p = net.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    q = net.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("Concat", [p, q], axis=1)
    x = net.node("Flatten", [net.node("GlobalAveragePool", [x])])
    x = net.gemm(x, 2 * width, classes)
    return net.model(x, (1, 3, size, size), (1, classes))


def bi_real_net(size: int = 16, width: int = 24, classes: int = 10, seed: int = 3) -> onnx.ModelProto:
    """INT8 stem, 1-bit blocks with PRelu and shortcuts (one strided with a pooled shortcut), float classifier."""
    net = Net(seed)
    x = net.conv_int(net.quantise("input", 0.02, 114), 3, width, 3, 2, scale=0.03, zero_point=128)
    for _ in range(2):
        y = net.prelu(net.binary_conv(x, width, width, 3), width)
        x = net.node("Add", [y, x])
    shortcut = net.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
    shortcut = net.node("Concat", [shortcut, shortcut], axis=1)
    y = net.prelu(net.binary_conv(x, width, 2 * width, 3, 2), 2 * width)
    x = net.node("Add", [y, shortcut])
    y = net.binary_conv(x, 2 * width, 2 * width, 1)
    x = net.node("Add", [net.binary_conv(y, 2 * width, 2 * width, 3), x])
    x = net.node("Flatten", [net.node("GlobalAveragePool", [x])])
    x = net.gemm(x, 2 * width, classes)
    return net.model(x, (1, 3, size, size), (1, classes))


def binary_stream_net(size: int = 9, width: int = 37, seed: int = 4) -> onnx.ModelProto:
    """1-bit convolutions of odd shapes whose float stream is the output: exact in every bit, no float sums."""
    net = Net(seed)
    x = net.binary_conv("input", 5, width, 3)
    x = net.node("Add", [net.prelu(net.binary_conv(x, width, width, 5), width), x])
    y = net.binary_conv(net.binary_conv(x, width, width, 1), width, width, 3)
    x = net.node("Add", [x, net.prelu(y, width)])
    x = net.binary_conv(x, width, 33, 3, 2)
    return net.model(x, (1, 5, size, size), (1, 33, (size + 1) // 2, (size + 1) // 2))


def gemm_net(bias_scale: float, width: int = 32, classes: int = 16, seed: int = 5) -> onnx.ModelProto:
    """One QDQ Gemm, input scale 0.05 and weight scale 0.01, whose int32 bias has a scale of its own."""
    rng = np.random.default_rng(seed)
    constants = {
        "sx": np.float32(0.05), "zx": np.uint8(128), "sw": np.float32(0.01), "sy": np.float32(0.1), "zy": np.uint8(120),
        "zw": np.int8(0), "w": rng.integers(-63, 64, (classes, width)).astype(np.int8),
        "b": rng.integers(-20000, 20000, classes).astype(np.int32), "sb": np.float32(bias_scale),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "sx", "zx"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["wd"]),
        helper.make_node("DequantizeLinear", ["b", "sb"], ["bd"]),
        helper.make_node("Gemm", ["xd", "wd", "bd"], ["sum"], transB=1),
        helper.make_node("QuantizeLinear", ["sum", "sy", "zy"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "sy", "zy"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c]) for n, c in (("x", width), ("y", classes))]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "gemm", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def run_onnx(model: onnx.ModelProto, batch: np.ndarray) -> np.ndarray:
    """The outputs of ONNX Runtime on one thread, sample by sample."""
    session = exact_session(model)
    return np.concatenate([session.run(None, {"input": sample[None]})[0] for sample in batch])


def images(model: onnx.ModelProto, count: int, seed: int = 0) -> np.ndarray:
    """Random float32 inputs of the model's shape, [count, C, H, W]."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)
