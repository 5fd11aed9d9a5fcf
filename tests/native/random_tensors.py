"""Random graphs over tensors of 1 to 6 dimensions, often with one size on all axes: swapped axes show in the numbers.

As in random_graphs, but every operator is drawn over any rank that it takes, and its axes at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.native.random_builder import EPS, Builder, Tensor
from tests.native.random_graphs import Sample, finished, live

Shape = tuple[int, ...]
MOST = 5
#: no tensor grows beyond this many elements
LARGEST = 4000


def random_tensors(seed: int) -> Sample:
    """The graph of this seed: 2 to 8 operators over one input of any rank."""
    b = Builder(np.random.default_rng(seed), 18)
    b.opset = b.size(18, 25)
    quantised = float(b.pick(0.0, 0.0, 0.3, 0.8))  # type: ignore[arg-type]
    shape = (1, *sizes(b, int(b.pick(1, 2, 2, 3, 3, 3, 4, 5))))  # type: ignore[call-overload]
    made = [Tensor("input", shape)]
    for _ in range(b.size(2, 8)):
        x = made[-1] if b.chance(0.7) else made[b.size(0, len(made) - 1)]
        y = MAKERS[b.size(0, len(MAKERS) - 1)](b, x, made)
        if y is None or math.prod(y.shape) > LARGEST:
            continue
        made.append(b.quantise(y) if b.chance(quantised) else y)
    last = made[-1]
    if last.name == "input":
        last = function(b, last, made)
    forms = {form for node in live(b.nodes, last.name) for form in b.forms_of.get(node.output[0], [])}
    return Sample(finished(b, shape, last, b.opset), forms, last.slack)


def sizes(b: Builder, count: int) -> Shape:
    """All the same, or each its own, with ones among them."""
    if b.chance(0.5):
        return (b.size(2, MOST),) * count
    return tuple(1 if b.chance(0.2) else b.size(1, MOST) for _ in range(count))


def some_axis(b: Builder, x: Tensor) -> int:
    return b.size(0, len(x.shape) - 1)


def signed(b: Builder, axis: int, rank: int) -> int:
    """The axis, counted from the front or from the back."""
    return axis if b.chance(0.5) else axis - rank


def whole(b: Builder, values: object) -> str:
    return b.constant(np.array(values, np.int64))


def transpose(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    order = [int(axis) for axis in b.random.permutation(len(x.shape))]
    return replace(view(b, "Transpose", x, tuple(x.shape[axis] for axis in order), perm=order), codes=None)


#: the form of each operator, where it is not "any"
FORMS = {
    "Add": "spatial",
    "Flatten": "axis",
    "Gather": "places",
    "Mul": "spatial",
    "Pad": "constant",
    "Reshape": "other",
    "Slice": "bounds",
    "Squeeze": "other",
    "Tanh": "float",
}


def view(b: Builder, op: str, x: Tensor, shape: Shape, *inputs: str, **attributes: object) -> Tensor:
    return replace(x, name=b.node(op, [x.name, *inputs], FORMS.get(op, "any"), **attributes), shape=shape)


def reshape(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    """Neighbouring axes joined or split, or any other shape of as many elements."""
    left, shape = math.prod(x.shape), list[int]()
    for _ in range(b.size(0, 4)):
        shape.append(int(b.pick(*[size for size in range(1, left + 1) if left % size == 0][:6])))  # type: ignore[call-overload]
        left //= shape[-1]
    shape.append(left)
    if b.chance(0.5):
        shape = [1, *shape][:6] if math.prod([1, *shape][:6]) == math.prod(x.shape) else shape
    return view(b, "Reshape", x, tuple(shape), whole(b, shape))


def ones(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    """Squeeze or Unsqueeze."""
    rank = len(x.shape)
    alone = [axis for axis, size in enumerate(x.shape) if size == 1]
    if alone and rank > 1 and b.chance(0.5):
        axis = int(b.pick(*alone))  # type: ignore[call-overload]
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        return view(b, "Squeeze", x, shape, whole(b, [signed(b, axis, rank)]))
    if rank > 5:
        return None
    axis = b.size(0, rank)
    shape = (*x.shape[:axis], 1, *x.shape[axis:])
    return view(b, "Unsqueeze", x, shape, whole(b, [signed(b, axis, rank + 1)]))


def flatten(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    axis = b.size(0, len(x.shape))
    return view(b, "Flatten", x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])), axis=axis)


def softmax(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    axis = some_axis(b, x)
    y = b.node("Softmax", [x.name], "axis", axis=signed(b, axis, len(x.shape)))
    return Tensor(y, x.shape, min(2.0, 2 * x.slack) + (x.shape[axis] + 16) * EPS, 1.0)


def reduce(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    rank = len(x.shape)
    gone = sorted({some_axis(b, x) for _ in range(b.size(1, 2))})
    op, keep = str(b.pick("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")), b.chance(0.5)
    shape = tuple(1 if i in gone else s for i, s in enumerate(x.shape) if keep or i not in gone)
    if not shape:
        return None
    y = b.node(op, [x.name, whole(b, [signed(b, axis, rank) for axis in gone])], "axes", keepdims=int(keep))
    count = math.prod(x.shape[axis] for axis in gone)
    gain = count if op == "ReduceSum" else 1
    return Tensor(y, shape, gain * x.slack + (count + 8) * EPS * gain * x.peak, gain * x.peak)


def pair(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    op, second = str(b.pick("Add", "Mul", "Sub", "Max", "Min")), None
    fitting = [o for o in others if _broadcast(o.shape, x.shape) is not None]
    if fitting and b.chance(0.6):
        second = fitting[b.size(0, len(fitting) - 1)]
    else:
        rank = b.size(0, len(x.shape) + (1 if len(x.shape) < 5 and b.chance(0.1) else 0))
        aligned = (*(1,) * max(0, rank - len(x.shape)), *x.shape)[len(x.shape) - rank if rank <= len(x.shape) else 0 :]
        shape = tuple(1 if b.chance(0.4) else b.size(1, 3) if s == 1 and b.chance(0.2) else s for s in aligned)
        array = b.normal(*shape)
        second = Tensor(b.constant(np.asarray(array, np.float32)), shape, 0.0, float(np.abs(array).max()))
    made = _broadcast(second.shape, x.shape)
    if made is None:
        return None
    y = b.node(op, [x.name, second.name] if b.chance(0.5) else [second.name, x.name], FORMS.get(op, "pair"))
    slack, peak = x.slack + second.slack, x.peak + second.peak
    if op == "Mul":
        slack = x.slack * second.peak + second.slack * x.peak + x.slack * second.slack
        peak = x.peak * second.peak
    return Tensor(y, made, slack + 4 * EPS * peak, peak)


def _broadcast(a: Shape, b: Shape) -> Shape | None:
    try:
        return tuple(map(int, np.broadcast_shapes(a, b)))
    except ValueError:
        return None


def matmul(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    if len(x.shape) < 2:
        return None
    depth, quantised = x.shape[-1], x.codes is not None and b.chance(0.7)
    fitting = [o for o in others if len(o.shape) > 1 and o.shape[-2] == depth and _batches(x, o) is not None]
    if fitting and b.chance(0.5):
        other = fitting[b.size(0, len(fitting) - 1)]
        gain = depth * other.peak
        slack = gain * x.slack + depth * other.slack * (x.peak + x.slack)
        y, shape = (
            b.node("MatMul", [x.name, other.name], "plain"),
            (*(_batches(x, other) or ()), x.shape[-2], other.shape[-1]),
        )
        return Tensor(y, shape, slack + (depth + 8) * EPS * gain * x.peak, gain * x.peak)
    out = depth if b.chance(0.5) else b.size(1, MOST)
    name, real, _, _ = b.weight(b.normal(depth, out) / np.float32(depth**0.5), 1, quantised)
    gain = float(np.abs(real).sum(axis=0).max())
    y = b.node("MatMul", [x.name, name], "plain")
    return Tensor(y, (*x.shape[:-1], out), gain * x.slack + (depth + 8) * EPS * gain * x.peak, gain * x.peak)


def _batches(x: Tensor, other: Tensor) -> Shape | None:
    return _broadcast(x.shape[:-2], other.shape[:-2])


def layer_norm(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    """Of few rows a variance may be near 0: epsilon holds what its rounding is multiplied by."""
    axis = some_axis(b, x)
    within = x.shape[axis:]
    given = [b.constant(b.normal(*within)) for _ in range(b.size(1, 2))]
    y = b.node("LayerNormalization", [x.name, *given], "axis", axis=signed(b, axis, len(x.shape)), epsilon=0.1)
    count = math.prod(within)
    return Tensor(y, x.shape, 30 * (x.slack + (count + 16) * EPS * x.peak), 4.0 * math.sqrt(count) + 4)


def gather(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    axis = some_axis(b, x)
    shape = sizes(b, b.size(0, 2))
    if not 1 <= len(x.shape) - 1 + len(shape) <= 6:
        return None
    places = b.random.integers(-x.shape[axis], x.shape[axis], shape)
    made = (*x.shape[:axis], *shape, *x.shape[axis + 1 :])
    return view(b, "Gather", x, made, whole(b, places), axis=signed(b, axis, len(x.shape)))


def expand(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    shape = tuple(b.size(1, 3) if size == 1 and b.chance(0.5) else size for size in x.shape)
    shape = (2, *shape) if len(shape) < 5 and b.chance(0.2) else shape
    return replace(view(b, "Expand", x, shape, whole(b, shape)), codes=None)


def concat(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    rank, axis = len(x.shape), some_axis(b, x)
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    fitting = [o for o in others if len(o.shape) == rank and (*o.shape[:axis], *o.shape[axis + 1 :]) == rest]
    chosen = [x, *(fitting[b.size(0, len(fitting) - 1)] for _ in range(b.size(1, 2)))]
    shape = (*x.shape[:axis], sum(o.shape[axis] for o in chosen), *x.shape[axis + 1 :])
    y = b.node("Concat", [o.name for o in chosen], "axis", axis=signed(b, axis, rank))
    return Tensor(y, shape, max(o.slack for o in chosen), max(o.peak for o in chosen))


def part(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    """Slice, or one output of Split."""
    rank, axis = len(x.shape), some_axis(b, x)
    size = x.shape[axis]
    if b.chance(0.4) and size > 1:
        parts = [b.size(1, size - 1)]
        parts.append(size - parts[0])
        first, second = b.split(x.name, whole(b, parts), signed(b, axis, rank))
        taken = int(b.chance(0.5))
        return replace(x, name=(first, second)[taken], shape=(*x.shape[:axis], parts[taken], *x.shape[axis + 1 :]))
    start, end, step = b.size(-size, size), b.size(-size - 1, size + 1), int(b.pick(1, 1, 2, -1, -2))  # type: ignore[call-overload]
    count = len(range(size)[start:end:step])
    if not count:
        return None
    bounds = [whole(b, [number]) for number in (start, end, signed(b, axis, rank), step)]
    return view(b, "Slice", x, (*x.shape[:axis], count, *x.shape[axis + 1 :]), *bounds)


def pad(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    mode, rank = str(b.pick("constant", "constant", "edge", "reflect", "wrap")), len(x.shape)
    most = [min(2, size - 1) if mode != "constant" else 2 for size in x.shape]
    widths = [b.size(0, most[i % rank]) if b.chance(0.4) else 0 for i in range(2 * rank)]
    shape = tuple(size + widths[i] + widths[i + rank] for i, size in enumerate(x.shape))
    if mode == "wrap" and b.opset < 19:
        return None
    given = [b.constant(np.array(b.pick(0.0, 1.0, -0.3), np.float32))] if mode == "constant" and b.chance(0.6) else []
    made = view(b, "Pad", x, shape, whole(b, widths), *given, mode=mode)
    return replace(made, codes=None, peak=max(x.peak, 1.0))


def window(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    """Conv or a pool over [1, C, L] or [1, C, H, W]."""
    rank = len(x.shape) - 2
    if x.shape[0] != 1 or rank not in (1, 2):
        return None
    op = str(b.pick("Conv", "Conv", "MaxPool", "AveragePool", "GlobalAveragePool"))
    channels, spatial = x.shape[1], x.shape[2:]
    if op == "GlobalAveragePool":
        area = math.prod(spatial)
        return Tensor(
            b.node(op, [x.name], "same"), (1, channels, *(1,) * rank), x.slack + (area + 8) * EPS * x.peak, x.peak
        )
    kernel = [b.size(1, min(3, size)) for size in spatial]
    pads = [b.size(0, taps - 1) for taps in kernel * 2]
    strides = [b.size(1, min(2, taps)) for taps in kernel]
    made = tuple((spatial[i] + pads[i] + pads[i + rank] - kernel[i]) // strides[i] + 1 for i in range(rank))
    attributes: dict[str, object] = {"kernel_shape": kernel, "pads": pads, "strides": strides}
    if op != "Conv":
        slack = x.slack + (16 * EPS * x.peak if op == "AveragePool" else 0.0)
        return Tensor(b.node(op, [x.name], "window", **attributes), (1, channels, *made), slack, x.peak)
    group = channels if b.chance(0.3) else 1
    out = group * (1 if group > 1 else channels if b.chance(0.5) else b.size(1, MOST))
    depth = channels // group * math.prod(kernel)
    array = b.normal(out, channels // group, *kernel) / np.float32(depth**0.5)
    name, real, _, _ = b.weight(array, 0, x.codes is not None)
    gain = float(np.abs(real).reshape(out, -1).sum(axis=1).max())
    y = b.node("Conv", [x.name, name], "window", group=group, **attributes)
    return Tensor(y, (1, out, *made), gain * x.slack + (depth + 8) * EPS * gain * x.peak, gain * x.peak)


def function(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor:
    op = str(b.pick("Relu", "Sigmoid", "Tanh", "Abs", "LeakyRelu", "HardSwish"))
    peak = 1.0 if op in ("Sigmoid", "Tanh") else x.peak
    rounding = 0.0 if op in ("Relu", "Abs") else 16 * EPS * max(1.0, x.peak)
    return Tensor(b.node(op, [x.name], FORMS.get(op, "any")), x.shape, 1.5 * x.slack + rounding, peak)


def quantise(b: Builder, x: Tensor, others: list[Tensor]) -> Tensor | None:
    return b.quantise(x)


Maker = Callable[[Builder, Tensor, list[Tensor]], Tensor | None]
MAKERS: tuple[Maker, ...] = (
    transpose, transpose, reshape, reshape, ones, flatten, softmax, reduce, pair, pair, pair, matmul, matmul,
    layer_norm, gather, expand, concat, part, pad, window, window, window, function, quantise,
)  # fmt: skip
