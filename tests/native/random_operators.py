"""One random node of each operator: its attributes, its form in the docs, and the bound of its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.native.random_builder import EPS, Builder, Tensor


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
    out = group * b.size(1, 2) if group > 1 else channels if b.chance(0.3) else b.size(1, 6)
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


def conv_of_other_rank(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    """Conv over [1, C, L] or [1, C, D, H, W]: the graph's input, or an image seen as such."""
    if len(x.shape) == 4 and b.chance(0.05):
        seen = (*x.shape[:2], -1) if b.chance(0.5) else (*x.shape[:2], 1, *x.shape[2:])
        shape = tuple(x.shape[2] * x.shape[3] if size < 0 else size for size in seen)
        name = b.node("Reshape", [x.name, b.constant(np.array(seen, np.int64))], "other")
        x = replace(x, name=name, shape=shape)
    if len(x.shape) not in (3, 5):
        return None
    kernel = [min(size, b.size(1, 3)) for size in x.shape[2:]]
    array = b.normal(b.size(1, 4), x.shape[1], *kernel)
    y = b.node("Conv", [x.name, b.constant(array)], "dimensions", kernel_shape=kernel)
    made = tuple(size - taps + 1 for size, taps in zip(x.shape[2:], kernel, strict=True))
    gain = float(np.abs(array).reshape(len(array), -1).sum(axis=1).max())
    slack = gain * x.slack + (array[0].size + 8) * EPS * gain * x.peak
    return Tensor(y, (1, len(array), *made), slack, gain * x.peak)


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
        if any(node.op_type == "Softmax" and node.output[0] == x.name for node in b.nodes):
            return None  # the mean of what was made to sum to one is a constant: there is nothing to compare
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
    conv, conv, conv_of_other_rank, dense, dense, total_or_product, total_or_product, unary, unary, pool, concat,
    softmax, view, view, binary_conv,
)  # fmt: skip
