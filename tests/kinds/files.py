"""One small file a kind of thing, as a package outside hwnas would have it."""

from __future__ import annotations

SAMPLER = '''"""Last: the last option of every choice, and nothing else."""

from hwnas.space import Architecture


class Last:
    def __init__(self, space):
        self.space = space

    def ask(self, n):
        return [Architecture({choice.name: choice.options[-1] for choice in self.space.choices})]

    def tell(self, architectures, scores):
        pass
'''

RULE = '''"""Shrink: a rule that learns nothing of the labels: all weights become small."""


class Shrink:
    def groups(self, net):
        return {"weights": net.parameters()}

    def steps(self, net, batch):
        yield "weights", [sum(parameter.square().sum() for parameter in net.parameters())]
'''

SCORER = '''"""Short: the fewer nodes a network has, the better."""

import numpy as np


class Short:
    def __init__(self, space):
        self.space = space

    def __call__(self, architectures):
        return np.array([1.0 / (1 + len(list(self.space.lower(one)))) for one in architectures])
'''

PREDICTOR = '''"""Early: believes that early options are better, whatever it is told."""

import numpy as np


class Early:
    def fit(self, codes, scores):
        pass

    def predict(self, codes):
        return -codes.sum(axis=1).astype(np.float64), np.ones(len(codes))
'''

DECODER = '''"""Least: the smallest network, whatever was learnt."""


class Least:
    def decode(self, net, rule, space, evaluate):
        return space.smallest()
'''

WRAPPER = '''"""Scaled: what the supernet gives, times a number that is trained with it."""

import torch


class Scaled:
    def __init__(self, start=1.0):
        self.start = start

    def __call__(self, net):
        return ScaledNet(net, self.start)


class ScaledNet(torch.nn.Module):
    def __init__(self, net, start):
        super().__init__()
        self.net, self.space, self.scale = net, net.space, torch.nn.Parameter(torch.tensor(start))

    def forward(self, inputs, selection):
        return self.scale * self.net(inputs, selection)

    def tensors(self, node, selection):
        return self.net.tensors(node, selection)
'''

PROXY = '''"""Held: how many numbers a net holds."""


class Held:
    def __call__(self, net):
        return float(sum(parameter.numel() for parameter in net.parameters()))
'''

COST = '''"""Convolutions: how many convolutions a network has."""

from hwnas import ops
from hwnas.cost import OperatorCost

UNIT, LIMITS = "convolutions", {"convolutions": 1.0}


def convolutions() -> OperatorCost:
    return OperatorCost("convolutions", UNIT, lambda operator: float(operator.kind in ("conv_bn_act", "bireal")))
'''

SPACE = '''"""mirror_net: one block mirror of a searched width, and a head."""

from hwnas.network import Operator
from hwnas.space import Choice, SearchSpace, Slot


def mirror_net(in_channels: int, classes: int, image_size: tuple[int, int], widths=range(4, 13)) -> SearchSpace:
    height, width = image_size
    half = (height // 2, width // 2)

    def block(v):
        image, result = (in_channels, height, width), (v["width"], *half)
        return Operator.of("mirror", image, result, v["precision"], kernel=3, stride=2)

    def head(v):
        return Operator.of("pool_dense", (v["width"], *half), (classes,), v["precision"], classes=classes)

    slots = tuple(Slot(name, ("width", "precision"), build) for name, build in (("block", block), ("head", head)))
    choices = (Choice("width", tuple(widths)), Choice("precision", ("fp32",), "precision"))
    return SearchSpace("mirror_net", choices, slots, in_channels, classes)
'''

BLOCK = '''"""mirror(kernel, stride): a convolution with batch norm, and the negative of what it gives."""

from hwnas.blocks.shapes import convolution
from hwnas.network import Layer


def layers(operator):
    """(C, H, W) -> (O, ceil(H / stride), ceil(W / stride))."""
    shape, result, precision = operator.input_shape, operator.output_shape, operator.precision
    held = {"kernel": operator["kernel"], "stride": operator["stride"], "activation": "none"}
    convolved = convolution("conv", "input", shape, result[0], precision, **held)
    return (*convolved, Layer("opposite", "opposite", (convolved[-1].name,), result, result, precision))
'''

LAYER = '''"""opposite: -x."""

import numpy as np

from hwnas.ops.primitive import Primitive


class Opposite(Primitive):
    def forward(self, layer, inputs, params, training):
        return -inputs[0]

    def reference(self, layer, inputs, tensors):
        return np.negative(inputs[0])

    def emit(self, layer, name, inputs, tensors, codes, graph):
        return graph.node("Neg", inputs, f"{name}.opposite")


primitive = Opposite()
'''

TASK = '''"""marks: 100 points for every example of the right class."""

import numpy as np

from hwnas.tasks.classify import Classify


class Marks(Classify):
    metric, unit = "marks", "points"

    def reduce(self, statistics: np.ndarray) -> float:
        return 100 * super().reduce(statistics)

    def baseline(self, data):
        name, share = super().baseline(data)
        return name, 100 * share
'''

DATA = '''"""stripes: images of stripes that lie, stand or slant, in noise."""

import numpy as np

from hwnas.data import Raw


def stripes(count: int = 40, side: int = 8) -> Raw:
    """`count` images (side, side) a class, uint8."""
    rng, (row, column) = np.random.default_rng(0), np.mgrid[:side, :side]
    images = [(one % 4 < 2) * 160 + rng.integers(0, 60, (count, side, side)) for one in (row, column, row + column)]
    labels = np.repeat(np.arange(3), count)
    return Raw("stripes", np.concatenate(images).astype(np.uint8), labels, ("lying", "standing", "slanting"))
'''

NATIVE_OPERATOR = '''"""Neg: the negated number, of any rank; a test's own operator."""

import numpy as np

from hwnas.export.native.ir import plain
from hwnas.export.native.operator import Example, Form, Kind

ONNX = {"Neg": (Form("any", "floats of any rank"),)}
KINDS = {"neg_f32": Kind(exact=True)}
FUSIONS = ()
EXAMPLES = (Example("Neg", ((1, "A", "B"),)),)


def read(reader, node):
    source = reader.plain(node, 0)
    value = plain(node.output[0], "f32", source.shape)
    reader.emit("neg_f32", node, (source.name,), value)
    reader.result(node, value)


def bind(lowering, step):
    from hwnas.kernels import fp32_binary
    from hwnas.kernels.image import Image

    x, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    spec = fp32_binary.Fp32Binary(x, Image(1, 1, x.channels), y, "mul")
    return lowering.call(step, fp32_binary, spec, (np.full(x.channels, -1, np.float32),))
'''

TARGET = '''"""Any 64-bit x86 with SSSE3 and POPCNT, under another name."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="x86_64", triple="x86_64-linux-gnu", cpu="core2", features="sse2 sse3 ssse3", portable=True
)
'''

VERB = '''"""Say hello to somebody."""


def greet(name: str) -> None:
    """Examples:"""
    print("hello", name)
'''
