"""Random ONNX graphs over all supported operators and the forms that are refused, with a bound of what may differ.

Every tensor carries `slack`: by how much a right compiler may differ from the model's meaning there. It starts at 0 and
grows by the rounding of float sums (a multiple of 2^-23 of what is summed), by one code at each QuantizeLinear whose
input was not exact, and by the gain of every operator (the sum of a row's absolute weights, the slope of a function).
Where it is still 0 at the output, the results must be equal in every bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hwnas.export.native.operators import OPERATORS
from tests.native.nets import binary_conv_function

EPS = 2.0**-23
NEWEST = 26


@dataclass(frozen=True)
class Tensor:
    """A float tensor; `codes` is (scale, zero point, numpy type) where it comes out of DequantizeLinear."""

    name: str
    shape: tuple[int, ...]
    slack: float = 0.0
    peak: float = 4.0
    codes: tuple[float, int, type] | None = None


@dataclass
class Sample:
    """One model, what it is made of, and how far its output may be off."""

    model: onnx.ModelProto
    forms: set[tuple[str, str]]
    slack: float

    @property
    def supported(self) -> bool:
        """Whether the docs say that it compiles."""
        known = {(op, form.name): form.supported for op, forms in OPERATORS.items() for form in forms}
        views = {(op, form.name) for op, forms in OPERATORS.items() for form in forms if form.reads == "view"}
        # a model of views alone computes nothing, and is refused
        return all(known[form] for form in self.forms) and not self.forms <= views

    @property
    def operators(self) -> set[str]:
        return {operator for operator, _ in self.forms}


@dataclass
class Builder:
    random: np.random.Generator
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    forms_of: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    binary: bool = False

    def chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def pick(self, *options: object) -> object:
        return options[int(self.random.integers(len(options)))]

    def size(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def constant(self, array: np.ndarray) -> str:
        tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(np.shape(array)))
        if self.chance(0.05):
            name = f"n{len(self.nodes)}"
            self.nodes.append(helper.make_node("Constant", [], [name], name=f"Constant_{name}", value=tensor))
            return name
        tensor.name = f"c{len(self.constants)}"
        self.constants.append(tensor)
        return tensor.name

    def normal(self, *shape: int) -> np.ndarray:
        return self.random.normal(size=shape).astype(np.float32)

    def node(self, op: str, inputs: list[str], form: str, domain: str = "", **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.forms_of[name] = [(op, form)]
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{op}_{name}", domain=domain, **attributes))
        return name

    # quantisation

    def quantise(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        """x through QuantizeLinear and DequantizeLinear, with the codes of `like` or codes of its own."""
        if like is not None and like.codes is not None:
            scale, zero, kind = like.codes
        else:
            kind = np.int8 if self.chance(0.3) else np.uint8
            zero = int(self.pick(0, -3, 20) if kind is np.int8 else self.pick(0, 128, 117))  # type: ignore[call-overload]
            spread = min(x.peak, 4.0) / 100
            scale = float(np.float32(self.pick(spread, spread, 1 / 64, 0.05)))
        info = np.iinfo(kind)
        zeros = self.constant(np.array(zero, kind))
        given = [self.constant(np.array(scale, np.float32)), zeros]
        attributes = {}
        if zero == 0 and self.chance(0.5):
            if kind is np.uint8:
                given = given[:1]
            elif self.opset >= 21:
                given, attributes = given[:1], {"output_dtype": TensorProto.INT8}
        if self.opset >= 21 and self.chance(0.02):
            given, attributes = [given[0], self.constant(np.array(0, np.int16))], {}
            q = self.node("QuantizeLinear", [x.name, *given], "other")
            return Tensor(self.node("DequantizeLinear", [q, *given], "other"), x.shape, x.slack, x.peak)
        q = self.node("QuantizeLinear", [x.name, *given], "tensor", **attributes)
        back = given if len(given) == 2 or self.chance(0.5) else [given[0], zeros]
        slack = x.slack + (scale if x.slack else 0.0)
        factor = 1.5 if self.chance(0.05) else 1.0
        if factor > 1:  # the same codes with another meaning
            back, scale = [self.constant(np.array(scale * factor, np.float32)), *back[1:]], scale * factor
        name = self.node("DequantizeLinear", [q, *back], "tensor")
        peak, slack = max(abs(info.min - zero), abs(info.max - zero)) * scale, slack * factor
        return Tensor(name, x.shape, slack, peak, (scale, zero, kind))

    def weight(self, array: np.ndarray, axis: int, quantised: bool) -> tuple[str, np.ndarray, np.ndarray | None, str]:
        """(name, what it means, its scales, form): float, or through DequantizeLinear where `quantised`."""
        if not quantised or self.chance(0.1):
            return self.constant(array), array, None, "weights"
        per_channel = self.opset >= 13 and self.chance(0.6)
        axes = tuple(i for i in range(array.ndim) if i != axis)
        most = np.abs(array).max(axis=axes if per_channel else None)
        scale = np.maximum(most / 63, 1e-3).astype(np.float32)
        if not per_channel:
            scale = np.float32(scale)
        shape = [1] * array.ndim
        if per_channel:
            shape[axis] = -1
        integers = np.clip(np.rint(array / scale.reshape(shape)), -63, 63)
        kind, zero = (np.uint8, 100) if self.chance(0.1) else (np.int8, 0)
        integers = (integers + zero).astype(kind)
        inputs = [self.constant(integers), self.constant(np.asarray(scale))]
        if zero or self.chance(0.5):
            inputs.append(self.constant(np.full(scale.shape, zero, kind)))
        attributes = {"axis": axis if self.chance(0.7) else axis - array.ndim} if per_channel else {}
        name = self.node("DequantizeLinear", inputs, "constant", **attributes)
        real = (integers.astype(np.float32) - zero) * scale.reshape(shape)
        return name, real, np.broadcast_to(scale, (array.shape[axis],)), "weights" if zero else "window"

    def bias(self, count: int, x: Tensor, scales: np.ndarray | None) -> tuple[str, float]:
        """(name, largest magnitude): float, int32 with the scale s_x * s_w, or int32 with a scale of its own."""
        values = self.normal(count) * np.float32(0.5)
        peak = float(np.abs(values).max())
        if x.codes is None or scales is None or self.chance(0.25):
            return self.constant(values), peak
        unit = np.float32(x.codes[0]) * scales
        if self.chance(0.4):
            unit = np.full(count, self.pick(0.01, 0.0037, 1e-4), np.float32)
        if self.opset < 13:
            if not np.all(unit == unit[0]):
                return self.constant(values), peak
            unit = unit[:1].reshape(())
        inputs = [self.constant(np.rint(values / unit).astype(np.int32)), self.constant(unit)]
        attributes = {"axis": 0} if unit.ndim else {}
        return self.node("DequantizeLinear", inputs, "constant", **attributes), peak + float(np.max(unit))

    def window(self, op: str, x: Tensor, kernel: tuple[int, int]) -> tuple[dict[str, object], tuple[int, int]] | None:
        """Attributes of a window over x and the size of what it gives; None where it does not fit."""
        strides = [self.size(1, 2), self.size(1, 2)]
        dilates = op == "Conv" or (op == "MaxPool" and self.opset >= 10) or (op == "AveragePool" and self.opset >= 19)
        dilations = [self.size(1, 2), self.size(1, 2)] if dilates and self.chance(0.3) else [1, 1]
        extent = [dilations[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
        attributes: dict[str, object] = {"kernel_shape": list(kernel), "strides": strides}
        if dilates and (dilations != [1, 1] or self.chance(0.2)):
            attributes["dilations"] = dilations
        sizes, pads = x.shape[2:], [0, 0, 0, 0]
        mode = self.pick("NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
        if op != "Conv" and max(strides[i] - kernel[i] for i in (0, 1)) > 0:
            mode = "NOTSET"  # ONNX Runtime fails where a pool's stride is larger than its window
        if mode != "NOTSET" and dilations == [1, 1]:
            attributes["auto_pad"] = mode
        if mode in ("SAME_UPPER", "SAME_LOWER") and dilations == [1, 1]:
            return attributes, (-(-sizes[0] // strides[0]), -(-sizes[1] // strides[1]))
        if "auto_pad" not in attributes and self.chance(0.7):
            reach = extent if op == "Conv" else kernel
            pads = [self.size(0, min(2, reach[i % 2] - 1)) for i in range(4)]
            attributes["pads"] = pads
        room = [sizes[i] + pads[i] + pads[i + 2] - extent[i] for i in (0, 1)]
        if min(room) < 0:
            return None
        if op != "Conv" and self.opset >= 10 and "auto_pad" not in attributes and not any(pads) and self.chance(0.3):
            attributes["ceil_mode"] = 1
            return attributes, (-(-room[0] // strides[0]) + 1, -(-room[1] // strides[1]) + 1)
        return attributes, (room[0] // strides[0] + 1, room[1] // strides[1] + 1)


Maker = Callable[[Builder, Tensor, list[Tensor]], Tensor | None]


def conv(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    if len(x.shape) != 4:
        return None
    channels = x.shape[1]
    kernel = (b.size(1, 3), b.size(1, 3))
    found = b.window("Conv", x, kernel)
    if found is None:
        return None
    attributes, (height, width) = found
    group = int(b.pick(*[g for g in (1, 1, channels, 2) if channels % g == 0]))  # type: ignore[call-overload]
    out = group * b.size(1, 2) if group > 1 else b.size(1, 6)
    depth = channels // group * kernel[0] * kernel[1]
    array = b.normal(out, channels // group, *kernel) / np.float32(depth**0.5)
    name, real, scales, form = b.weight(array, 0, x.codes is not None)
    inputs, peak = [x.name, name], 0.0
    if b.chance(0.7):
        bias, peak = b.bias(out, x, scales)
        inputs.append(bias)
    if group > 1 or b.chance(0.3):
        attributes["group"] = group
    y = b.node("Conv", inputs, form, **attributes)
    if len(inputs) == 3:
        b.forms_of[y].append(("Conv", "bias"))
    gain = float(np.abs(real).reshape(out, -1).sum(axis=1).max())
    total = gain * x.peak + peak
    return Tensor(y, (1, out, height, width), gain * x.slack + (depth + 8) * EPS * total, total)


def dense(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    if len(x.shape) != 2:
        return None
    size, out = x.shape[1], b.size(1, 6)
    op = b.pick("Gemm", "Gemm", "MatMul")
    transposed = op == "Gemm" and b.chance(0.6)
    array = b.normal(size, out) / np.float32(size**0.5)
    name, real, scales, _ = b.weight(array.T if transposed else array, 0 if transposed else 1, x.codes is not None)
    inputs, peak, attributes, form, factor = [x.name, name], 0.0, {}, "plain", 1.0
    if op == "Gemm":
        if b.opset < 11 or b.chance(0.7):
            bias, peak = b.bias(out, x, scales)
            if b.chance(0.3):
                shape = [(out,), (1, out), (1,), (1, 1), ()][b.size(0, 4)]
                values = b.normal(*shape) * np.float32(0.3)
                bias, peak = b.constant(values), float(np.abs(values).max())
            inputs.append(bias)
        attributes = {"transB": int(transposed)}
        if b.chance(0.2):
            form, factor = "scaled", 0.5
            attributes |= {"alpha": factor, "beta": 2.0}
            peak *= 2
    if op == "Gemm" and b.chance(0.03) and size > 1:
        turned = b.constant(b.normal(1, out))
        y = b.node("Gemm", [x.name, turned, b.constant(b.normal(out))], "transA", transA=1)
        return Tensor(y, (size, out))
    y = b.node(str(op), inputs, form, **attributes)
    gain = factor * float(np.abs(real).sum(axis=1 if transposed else 0).max())
    total = gain * x.peak + peak
    return Tensor(y, (1, out), gain * x.slack + (size + 8) * EPS * total, total)


def total_or_product(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    op = str(b.pick("Add", "Mul"))
    rank = len(x.shape)
    same = [o for o in others if o.shape == x.shape]
    vectors = [o for o in others if rank == 4 and o.shape == (1, x.shape[1], 1, 1) and x.shape[2:] != (1, 1)]
    if rank == 4 and x.shape[2:] != (1, 1) and b.chance(0.15):  # squeeze-excite: an image times its own mean
        pooled = Tensor(b.node("GlobalAveragePool", [x.name], "same"), (*x.shape[:2], 1, 1), x.slack, x.peak)
        pooled = replace(pooled, slack=x.slack + (x.shape[2] * x.shape[3] + 8) * EPS * x.peak)
        if x.codes:
            quantised = b.quantise(pooled)
            tag_codes(b, pooled.name, x, quantised)
            pooled = quantised
        same, vectors = [], [pooled]
    if (same or vectors) and (not same or b.chance(0.6)):
        other = same[b.size(0, len(same) - 1)] if same and (not vectors or b.chance(0.5)) else vectors[0]
        form = "equal" if other.shape == x.shape else "vector"
        if form == "equal" and x.codes and other.codes and np.int8 in (x.codes[2], other.codes[2]):
            form = "int8"
        pair = [x.name, other.name] if b.chance(0.5) else [other.name, x.name]
        y = b.node(op, pair, form)
        if op == "Add":
            slack, peak = x.slack + other.slack, x.peak + other.peak
        else:
            slack = x.slack * other.peak + other.slack * x.peak + x.slack * other.slack
            peak = x.peak * other.peak
        # integer sums and products round in an order of their own
        slack += 4 * EPS * peak if x.codes or other.codes else 0.0
        return Tensor(y, x.shape, slack, peak)
    array, form = channel_constant(b, x)
    pair = [x.name, b.constant(array)]
    y = b.node(op, pair if b.chance(0.5) else pair[::-1], form)
    most = float(np.abs(array).max())
    slack, peak = (x.slack, x.peak + most) if op == "Add" else (x.slack * most, x.peak * most)
    slack += 4 * EPS * peak if x.codes else 0.0
    return Tensor(y, np.broadcast_shapes(x.shape, array.shape), slack, peak)


def channel_constant(b: Builder, x: Tensor) -> tuple[np.ndarray, str]:
    """A constant that broadcasts to x; now and then one that differs between pixels or enlarges it."""
    shape = x.shape
    if len(shape) == 2:
        flat = flattened(b, x)
        choices = [((), "channel"), ((1,), "channel"), ((1, 1), "channel")]
        choices += [((shape[1],), "spatial" if flat else "channel"), ((1, shape[1]), "spatial" if flat else "channel")]
    else:
        _, c, h, w = shape
        choices = [((), "channel"), ((c, 1, 1), "channel"), ((1, c, 1, 1), "channel"), ((1, 1), "channel")]
        if b.chance(0.15):
            wrong = [(h, 1), (w,), (h, w), (1, 1, h, w), (c, h, 1)]
            choices = [(s, "channel" if max(s[-2:], default=1) == 1 else "spatial") for s in wrong]
            choices = [(s, f) for s, f in choices if f == "spatial"] or [((), "channel")]
    if len(shape) == 2 and flattened(b, x) and b.chance(0.8):
        choices = choices[:3]
    picked, form = choices[b.size(0, len(choices) - 1)]
    values = np.asarray(b.normal(*picked), np.float32)
    if values.size == 1:
        form = "channel"
    return values, form


def flattened(b: Builder, x: Tensor) -> bool:
    """Whether x is a view of an image of several pixels."""
    made = {node.output[0]: node for node in b.nodes}
    name = x.name
    while name in made:
        node = made[name]
        if node.op_type in ("Flatten", "Reshape") and node.name.endswith("_image"):
            return True
        if node.op_type in ("Gemm", "MatMul"):
            return False
        name = next(n for n in node.input if n == "input" or (n in made and made[n].op_type != "Constant"))
    return False


def unary(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    names = ["Relu", "Sigmoid", "LeakyRelu", "HardSigmoid", "Clip", "PRelu", *(["HardSwish"] if b.opset >= 14 else [])]
    names += ["Tanh"] if x.codes or b.chance(0.1) else []
    op = str(b.pick(*names))
    form = "quantised" if x.codes else "float"
    attributes: dict[str, object] = {}
    inputs, slack, peak = [x.name], x.slack, x.peak
    rounding = 16 * EPS
    if op == "Clip":
        wild = bool(x.codes) or b.chance(0.1)
        low, high = (
            [(-0.5, 1.0), (-2.0, 2.0), (1.0, -1.0)][b.size(0, 2 if b.opset >= 11 else 1)] if wild else (0.0, 6.0)
        )
        form, rounding = ("quantised" if x.codes else "float" if wild else "relu"), 0.0
        if b.opset < 11:
            attributes = {"min": low, "max": high}
        else:
            inputs += [b.constant(np.array(low, np.float32)), b.constant(np.array(high, np.float32))]
    elif op == "HardSigmoid":
        odd = b.chance(0.5) if x.codes else b.chance(0.1)
        attributes = {"alpha": 0.3, "beta": 0.4} if odd else {"alpha": 1 / 6, "beta": 0.5}
        form = "quantised" if x.codes else "slope" if odd else "float"
        peak = 1.0
    elif op == "PRelu":
        slope, form = channel_constant(b, x)
        if slope.ndim > len(x.shape) or np.broadcast_shapes(slope.shape, x.shape) != x.shape:
            return None
        inputs.append(b.constant(slope))
        most = max(1.0, float(np.abs(slope).max()))
        slack, peak, rounding = slack * most, peak * most, 0.0
    elif op == "LeakyRelu":
        attributes, form, rounding = {"alpha": float(b.pick(0.1, 0.01, 0.3))}, "any", 0.0  # type: ignore[arg-type]
    elif op in ("Relu", "HardSwish", "Sigmoid"):
        form = "any"
        rounding = 0.0 if op == "Relu" else rounding
        slack *= 1.5 if op == "HardSwish" else 1.0
        peak = 1.0 if op == "Sigmoid" else peak
    y = b.node(op, inputs, form, **attributes)
    made = Tensor(y, x.shape, slack + rounding * peak, peak)
    # these run over codes only: their floats must go into QuantizeLinear
    return b.quantise(made) if form == "quantised" else made


def pool(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    if len(x.shape) != 4:
        return None
    op = str(b.pick("AveragePool", "MaxPool", "GlobalAveragePool"))
    area = x.shape[2] * x.shape[3]
    if op == "GlobalAveragePool":
        y = b.node(op, [x.name], "same")
        return Tensor(y, (*x.shape[:2], 1, 1), x.slack + (area + 8) * EPS * x.peak, x.peak)
    kernel = (b.size(1, 3), b.size(1, 3))
    found = b.window(op, x, kernel)
    if found is None:
        return None
    attributes, (height, width) = found
    if op == "AveragePool" and b.chance(0.4):
        attributes["count_include_pad"] = 1
    floor = [(x.shape[i + 2] - kernel[i]) // attributes["strides"][i] + 1 for i in (0, 1)]  # type: ignore[index]
    ceiled = "ceil_mode" in attributes and "dilations" not in attributes and floor != [height, width]
    if "ceil_mode" in attributes and "dilations" in attributes:
        return None
    y = b.node(op, [x.name], "ceil_mode" if ceiled else "window", **attributes)
    shape = (*x.shape[:2], height, width)
    return Tensor(y, shape, x.slack + (16 * EPS * x.peak if op == "AveragePool" else 0.0), x.peak)


def concat(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    if len(x.shape) == 2 and flattened(b, x):
        return None
    rank = len(x.shape)
    fitting = [o for o in others if len(o.shape) == rank and o.shape[2:] == x.shape[2:]]
    fitting = [o for o in fitting if not (rank == 2 and flattened(b, o))]
    chosen = [x, *(fitting[b.size(0, len(fitting) - 1)] for _ in range(b.size(0, 2)) if fitting)]
    axis, form = int(b.pick(1, 1 - rank)), "channels"  # type: ignore[call-overload]
    shape: tuple[int, ...] = (1, sum(o.shape[1] for o in chosen), *x.shape[2:])
    if rank == 4 and b.chance(0.08) and len({o.shape for o in chosen}) == 1 and x.shape[2:] != (1, 1):
        axis, form, shape = 2, "axis", (1, x.shape[1], x.shape[2] * len(chosen), x.shape[3])
    y = b.node("Concat", [o.name for o in chosen], form, axis=axis)
    return Tensor(y, shape, max(o.slack for o in chosen), max(o.peak for o in chosen))


def softmax(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    rank = len(x.shape)
    image = rank == 4 and x.shape[2:] != (1, 1)
    attributes, axis = {}, 1 if b.opset < 13 else rank - 1
    if b.chance(0.8):
        axis = 1 if b.chance(0.8) else rank - 1
        attributes["axis"] = axis if b.opset < 11 or b.chance(0.5) else axis - rank
    good = axis == 1 and not (image and b.opset < 13) and not (rank == 2 and flattened(b, x))
    y = b.node("Softmax", [x.name], ("float" if image or not x.codes else "channels") if good else "axis", **attributes)
    count = int(np.prod(x.shape))
    return Tensor(y, x.shape, min(2.0, 2 * x.slack) + (count + 16) * EPS, 1.0)


def view(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    op, shape = str(b.pick("Flatten", "Reshape", "Identity", "Dropout", "Squeeze")), x.shape
    inputs, attributes, form = [x.name], {}, "any"
    image = len(shape) == 4 and shape[2:] != (1, 1)
    count = int(np.prod(shape))
    if op == "Dropout":
        form = "inference"
        if b.opset >= 12:
            inputs += [b.constant(np.array(0.5, np.float32))] if b.chance(0.5) else []
        else:
            attributes = {"ratio": 0.3}
    elif op == "Flatten":
        axis = int(b.pick(1, 1, 1, 0, 2)) if b.chance(0.4) else 1  # type: ignore[call-overload]
        sizes = (int(np.prod(shape[:axis])), int(np.prod(shape[axis:])))
        form, shape = "batch" if sizes == (1, count) else "axis", sizes
        attributes = {"axis": axis if b.opset < 11 or b.chance(0.5) or axis == 0 else axis - len(x.shape)}
    elif op == "Reshape":
        options = [([1, -1], (1, count)), ([0, -1], (1, count)), ([1, count], (1, count))]
        form = "flatten"
        if len(shape) == 2 and not flattened(b, x):
            options.append(([1, count, 1, 1], (1, count, 1, 1)))
        if len(shape) == 4 and b.chance(0.3):
            options = [([0, 0, 0, 0], shape), ([1, shape[1], -1, shape[3]], shape)]
        if image and b.chance(0.1):
            options, form = [([1, -1, shape[1], 1], (1, shape[2] * shape[3], shape[1], 1))], "other"
            if options[0][1] == shape:
                form = "flatten"
        target, shape = options[b.size(0, len(options) - 1)]
        inputs.append(b.constant(np.array(target, np.int64)))
    elif op == "Squeeze":
        if len(shape) != 4 or image:
            return None
        form, axes = "vector", [2, 3] if b.opset < 11 or b.chance(0.5) else [-1, -2]
        if b.chance(0.3) and shape[1] > 1:
            form, axes = "other", [0]
        if b.opset < 13:
            attributes = {"axes": axes}
        else:
            inputs.append(b.constant(np.array(axes, np.int64)))
        shape = shape[:2] if form == "vector" else shape[1:]
    y = b.node(op, inputs, form, **attributes)
    if image and op in ("Flatten", "Reshape"):
        b.nodes[-1].name += "_image" if len(shape) == 2 else ""
    return replace(x, name=y, shape=shape)


def binary_conv(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    if len(x.shape) != 4 or x.slack or not b.binary:
        return None
    channels, kernel = x.shape[1], (b.size(1, 3),) * 2
    found = b.window("Conv", x, kernel)
    if found is None or "auto_pad" in found[0]:
        return None
    attributes, (height, width) = found
    group = int(b.pick(*[g for g in (1, channels) if channels % g == 0]))  # type: ignore[call-overload]
    out = group * b.size(1, 3)
    depth = channels // group
    bits = b.random.integers(0, 2, (out, *kernel, depth)).astype(np.uint8)
    scale, bias = b.normal(out), b.normal(out)
    vectors = [b.normal(channels), np.packbits(bits, axis=-1, bitorder="little"), scale, bias]
    # the function reads every attribute of its window
    attributes = {"pads": [0] * 4, "dilations": [1, 1], **attributes}
    inputs = [x.name, *map(b.constant, vectors)]
    y = b.node("BinaryConv", inputs, "any", "hwnas", in_channels=depth, group=group, **attributes)
    peak = float(depth * kernel[0] ** 2 * np.abs(scale).max() + np.abs(bias).max())
    return Tensor(y, (1, out, height, width), 0.0, peak)


MAKERS: tuple[Maker, ...] = (
    conv, conv, dense, dense, total_or_product, total_or_product, unary, unary, pool, concat, softmax, view, view,
    binary_conv,
)  # fmt: skip


def random_graph(seed: int) -> Sample:
    """The graph of this seed: 1 to 8 operators over one input, quantised everywhere, nowhere or in places."""
    random = np.random.default_rng(seed)
    opset = int(random.integers(7, NEWEST + 1))
    quantised = float(random.choice([0.0, 0.0, 0.5, 1.0])) if opset >= 10 else 0.0
    b = Builder(random, opset, binary=opset >= 18 and bool(random.random() < 0.4))
    shape = (1, b.size(1, 6)) if b.chance(0.2) else (1, b.size(1, 6), b.size(1, 6), b.size(1, 6))
    pool_of = [Tensor("input", shape)]
    if b.chance(quantised):
        pool_of.append(b.quantise(pool_of[0]))
    wanted, made, tries = b.size(1, 8), 0, 0
    while made < wanted and tries < 200:
        tries += 1
        x = pool_of[-1] if b.chance(0.75) else pool_of[b.size(0, len(pool_of) - 1)]
        y = MAKERS[b.size(0, len(MAKERS) - 1)](b, x, pool_of)
        if y is None:
            continue
        made += 1
        if len(y.shape) not in (2, 4) or y.shape[0] != 1:
            pool_of.append(y)
            break
        if b.chance(quantised):
            like = next((t for t in pool_of if t.name == x.name), None) if b.chance(0.5) else None
            made_by, y = y, b.quantise(relu_before(b, y), like)
            tag_codes(b, made_by.name, x, y)
        pool_of.append(y)
    last = pool_of[-1]
    forms = {form for node in live(b.nodes, last.name) for form in b.forms_of.get(node.output[0], [])}
    return Sample(finished(b, shape, last, opset), forms, last.slack)


def tag_codes(b: Builder, name: str, x: Tensor, y: Tensor) -> None:
    """Says which form an operator between the codes of x and y has."""
    node = next(node for node in b.nodes if node.output[0] == name)
    if x.codes is None or y.codes is None or x.name not in node.input:
        return
    kinds = {x.codes[2], y.codes[2]}
    if node.op_type == "GlobalAveragePool":
        b.forms_of[name] = [(node.op_type, "same" if len(kinds) == 1 else "mixed")]
    elif node.op_type == "AveragePool" and kinds == {np.uint8}:
        b.forms_of[name].append((node.op_type, "uint8"))
    elif node.op_type == "MaxPool" and x.codes == y.codes:
        b.forms_of[name].append((node.op_type, "same"))


def relu_before(b: Builder, y: Tensor) -> Tensor:
    if b.chance(0.25):
        return replace(y, name=b.node("Relu", [y.name], "any"))
    return y


def live(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The nodes that the output depends on."""
    needed, kept = {output}, []
    for node in reversed(nodes):
        if node.output[0] in needed:
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def finished(b: Builder, shape: tuple[int, ...], last: Tensor, opset: int) -> onnx.ModelProto:
    """The model whose output is `last`; nodes that nothing reads are left in it."""
    graph = helper.make_graph(
        b.nodes,
        "random",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last.name, TensorProto.FLOAT, last.shape)],
        b.constants,
    )
    binary = any(node.domain == "hwnas" for node in b.nodes)
    return helper.make_model(
        graph,
        functions=[binary_conv_function()] if binary else [],
        ir_version=10,
        opset_imports=[helper.make_opsetid("", opset), *([helper.make_opsetid("hwnas", 1)] if binary else [])],
    )
