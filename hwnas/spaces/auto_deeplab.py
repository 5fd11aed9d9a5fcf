"""auto_deeplab: a path through layers x strides and one cell for all places, on maps of classes (Liu et al.,
Auto-DeepLab, CVPR 2019, arXiv:1901.02985).

    stem -> stride s_1 -> s_2 -> ... -> s_L -> 1x1 convolution -> bilinear to the image's size: (classes, H, W)

Channels double where the stride does, so that a layer costs about the same wherever the path runs. In a relaxed space
every stride has a node in every layer, and an edge, which carries a weight, from each stride to itself and its
neighbours (`Trellis`):

    H(l, s) = Cell( sum over s' of beta(l, s' -> s) T(l, s' -> s)(H(l-1, s')) )
    output  = sum over s of P(s) Head_s(H(L, s)),   P(s) = the weight of all paths that end at s

Differs: a cell reads the layer before alone, and is n1 + n2 with n1 = op01(x), n2 = op02(x) + op12(n1), where the paper
concatenates five blocks; so one cell a node does, with beta on what T normalised, where the paper has a cell an edge.
No dilated or separable convolutions, one 1x1 convolution for the ASPP head, and heads are weighted by P, since batch
norm would hide how little of a path arrives. A hard path may move by more than one stride, and then crosses those
between without a cell; best-path decoding never gives such a one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.blocks.shapes import strided
from hwnas.errors import HwnasError
from hwnas.network import FULL_PRECISION, Operator, Shape
from hwnas.space import Choice, SearchSpace, Slot, private
from hwnas.spaces.resolution import checked_size
from hwnas.spaces.staged import checked_precisions, conversion

OPERATIONS = ("skip", "avg_pool_3x3", "conv_3x3", "conv_5x5")
CELL = ((0, 1), (0, 2), (1, 2))
PRECISION = "precision"

Values = Mapping[str, Any]
Build = Callable[[Values], Operator | None]


@dataclass(frozen=True)
class Trellis:
    """Layers 1 to `layers`, each with a node a stride; layer 0 is the stem, at the first stride. What a soft selection
    gives beside the choices: the weight of every edge and of every end, each a Mix of one option."""

    layers: int
    strides: tuple[int, ...]

    @classmethod
    def of(cls, space: SearchSpace) -> Trellis:
        """The trellis of a space, of every stride that some layer has; HwnasError where its choices are none."""
        choices = [choice for choice in space.choices if choice.name.startswith("stride.")]
        if not choices or [choice.name for choice in choices] != [stride_name(i + 1) for i in range(len(choices))]:
            raise HwnasError(f"space {space.name!r} is no trellis: it has no choices stride.1, stride.2, ...")
        return cls(len(choices), tuple(sorted({int(o) for choice in choices for o in choice.options})))

    def nodes(self, layer: int) -> tuple[int, ...]:
        """The strides that a path of single steps reaches by a layer."""
        return self.strides[: layer + 1]

    def targets(self, layer: int, source: int) -> tuple[int, ...]:
        """Where a node of `layer` leads: its own stride in the next layer, and the neighbours'."""
        i = self.strides.index(source)
        return self.strides[max(0, i - 1) : i + 2]

    def edges(self) -> list[tuple[int, int, int]]:
        """Every (layer it leads into, source, target)."""
        layers = range(1, self.layers + 1)
        return [(i, s, t) for i in layers for s in self.nodes(i - 1) for t in self.targets(i - 1, s)]

    def sources(self, layer: int, target: int) -> tuple[int, ...]:
        """The strides of the layer before that lead to a node of `layer`."""
        return tuple(s for s in self.nodes(layer - 1) if target in self.targets(layer - 1, s))


def stride_name(layer: int) -> str:
    """The choice of a layer's stride: "stride.3"."""
    return f"stride.{layer}"


def edge_name(layer: int, source: int, target: int) -> str:
    """The weight of an edge into a layer: "edge.3.4-8"."""
    return f"edge.{layer}.{source}-{target}"


def end_name(stride: int) -> str:
    """The weight of a path's end: "end.8"."""
    return f"end.{stride}"


def cell_name(source: int, target: int) -> str:
    """The choice of an edge of the cell: "cell.0-1"."""
    return f"cell.{source}-{target}"


def auto_deeplab(
    in_channels: int,
    classes: int,
    image_size: Sequence[int] | None = None,
    layers: int = 6,
    strides: Sequence[int] = (4, 8, 16),
    width: int = 8,
    operations: Sequence[str] = OPERATIONS,
    precisions: Sequence[str] = ("fp32", "int8"),
) -> SearchSpace:
    """The space for images of `in_channels` of `classes` a pixel; `width` channels at the first stride.

    `strides` double from one to the next, the first a power of two that the stem reaches. HwnasError where they do not,
    or the image has fewer pixels a side than the last.
    """
    size = checked_size(image_size) or (48, 48)
    s = _Skeleton(in_channels, classes, size, layers, width, _checked(strides, size))
    wrong = [name for name in operations if name not in OPERATIONS]
    if wrong or not operations:
        raise HwnasError(f"operations must be among {', '.join(OPERATIONS)}, got {list(operations)}")
    if layers < 1 or width < 1:
        raise HwnasError(f"auto_deeplab needs layers and width of at least 1, got {layers} and {width}")
    slots = _stem(s)
    for layer in range(1, layers + 1):
        slots += _layer(s, layer)
    slots += _heads(s)
    choices = [Choice(stride_name(layer), s.strides) for layer in range(1, layers + 1)]
    choices += [Choice(cell_name(*edge), tuple(operations)) for edge in CELL]
    choices.append(Choice(PRECISION, checked_precisions(precisions), "precision"))
    return SearchSpace("auto_deeplab", tuple(choices), tuple(slots), in_channels, classes, sharing=private)


def _checked(strides: Sequence[int], size: tuple[int, int]) -> tuple[int, ...]:
    found = tuple(strides)
    whole = bool(found) and all(type(stride) is int and stride > 1 for stride in found)
    if not whole or found[0] & (found[0] - 1) or any(b != 2 * a for a, b in itertools.pairwise(found)):
        raise HwnasError(f"strides must double from one to the next, the first a power of two, got {list(strides)}")
    if min(size) < found[-1]:
        raise HwnasError(f"stride {found[-1]} leaves nothing of images {size[0]} x {size[1]}")
    return found


@dataclass(frozen=True)
class _Skeleton:
    in_channels: int
    classes: int
    size: tuple[int, int]
    layers: int
    width: int
    strides: tuple[int, ...]

    @property
    def trellis(self) -> Trellis:
        return Trellis(self.layers, self.strides)

    def shape(self, stride: int) -> Shape:
        """Of a node: `width` channels at the first stride, as many more as the stride is larger."""
        return (self.width * stride // self.strides[0], *(strided(side, stride) for side in self.size))

    def position(self, values: Values, layer: int) -> int:
        """The stride of a hard path in a layer."""
        return int(values[stride_name(layer)]) if layer else self.strides[0]

    def path(self, *layers: int) -> tuple[str, ...]:
        """The choices that say where the path is in some layers."""
        return tuple(stride_name(layer) for layer in layers if layer)


def _stem(s: _Skeleton) -> list[Slot]:
    """Convolutions of stride 2 down to the first stride."""
    image = (s.in_channels, *s.size)
    slots = [Slot("input", (PRECISION,), lambda values: conversion(FULL_PRECISION, values[PRECISION], image))]
    before: Shape = image
    stride = 1
    while stride < s.strides[0]:
        stride *= 2
        after = (s.width, *(strided(side, stride) for side in s.size))

        def build(values: Values, before: Shape = before, after: Shape = after) -> Operator:
            precision = values[PRECISION]
            return Operator.of("conv_bn_act", before, after, precision, kernel=3, stride=2, activation="relu")

        slots.append(Slot(f"stem.{stride}", (PRECISION,), build))
        before = after
    return slots


def _place(layer: int, stride: int) -> str:
    """The slot that gives a node's value: its cell's sum, or the end of the stem."""
    return f"l{layer}.{stride}.sum" if layer else f"stem.{stride}"


def _crossing(layer: int, source: int, target: int) -> str:
    return f"l{layer}.{source}-{target}"


def _layer(s: _Skeleton, layer: int) -> list[Slot]:
    """One layer: its edges, those down and up in the order in which a path of several steps crosses them; its nodes and
    cells."""
    down = list(itertools.pairwise(s.strides))
    edges = [*down, *((stride, stride) for stride in s.strides), *((b, a) for a, b in reversed(down))]
    slots = [_edge(s, layer, *edge) for edge in edges] + [_node(s, layer, stride) for stride in s.strides]
    for stride in s.strides:
        slots += _cell(s, layer, stride)
    return slots


def _edge(s: _Skeleton, layer: int, source: int, target: int) -> Slot:
    """A step of a path, from `source` to a neighbour or to itself. Hard, it reads the node where the path was, or the
    step before it; relaxed, always the node at `source`, times the edge's weight."""
    shape, result = s.shape(source), s.shape(target)

    def any_way(values: Values) -> Operator:
        if source > target:
            return Operator.of("upsample", shape, result, values[PRECISION], affine=False)
        kernel, stride = (1, 1) if source == target else (3, 2)
        return Operator.of("relu_conv_bn", shape, result, values[PRECISION], kernel=kernel, stride=stride, affine=False)

    def build(values: Values) -> Operator | None:
        before, after = s.position(values, layer - 1), s.position(values, layer)
        crossed = before <= source < target <= after or before >= source > target >= after
        return any_way(values) if crossed or before == source == target == after else None

    def inputs(values: Values) -> tuple[str, ...]:
        before = s.position(values, layer - 1)
        if not min(before, target) < source < max(before, target):
            return (_place(layer - 1, source if layer > 1 else s.strides[0]),)
        return (_crossing(layer, source // 2 if before < source else source * 2, source),)

    name, start = _crossing(layer, source, target), _place(layer - 1, source if layer > 1 else s.strides[0])
    weight = (edge_name(layer, source, target),) if source in s.trellis.nodes(layer - 1) else ()
    relaxed = Slot(name, (*weight, PRECISION), any_way, (start,))  # without a weight: nothing reads it
    return Slot(name, (*s.path(layer - 1, layer), PRECISION), build, inputs, relaxed)


def _node(s: _Skeleton, layer: int, stride: int) -> Slot:
    """Where a node's cell reads: hard, the step that the path took; relaxed, the sum of all that lead here."""
    shape, strides = s.shape(stride), s.strides
    sources = [_crossing(layer, source, stride) for source in s.trellis.sources(layer, stride)]

    def inputs(values: Values) -> tuple[str, ...]:
        before = s.position(values, layer - 1)
        step = stride if before == stride else stride // 2 if before < stride else stride * 2
        return (_crossing(layer, step, stride),)

    def added(values: Values) -> Operator | None:
        many = len(sources) > 1
        return Operator.of("sum", (shape,) * len(sources), shape, values[PRECISION]) if many else None

    unreachable = (_crossing(layer, strides[0], strides[0]),)  # no path of single steps comes here: nothing reads it
    relaxed = Slot(f"l{layer}.{stride}", (PRECISION,), added, tuple(sources) or unreachable)
    return Slot(f"l{layer}.{stride}", s.path(layer - 1, layer), lambda values: None, inputs, relaxed)


def _cell(s: _Skeleton, layer: int, stride: int) -> list[Slot]:
    """The cell of one node: its three edges, then their sum, n1 + n2."""
    shape, node = s.shape(stride), f"l{layer}.{stride}"
    here = (stride_name(layer),)
    slots = []
    for source, target in CELL:
        own = cell_name(source, target)

        def any_way(values: Values, own: str = own) -> Operator | None:
            return _operator(values[own], shape, values[PRECISION])

        def build(values: Values, own: str = own) -> Operator | None:
            return any_way(values, own) if values[stride_name(layer)] == stride else None

        name, reads = f"{node}.{source}-{target}", (f"{node}.0-1" if source else node,)
        relaxed = Slot(name, (own, PRECISION), any_way, reads)
        slots.append(Slot(name, (*here, own, PRECISION), build, reads, relaxed))
    edges = tuple(f"{node}.{source}-{target}" for source, target in CELL)

    def added(values: Values) -> Operator:
        return Operator.of("sum", (shape,) * len(edges), shape, values[PRECISION])

    def passed(values: Values) -> Operator | None:
        return added(values) if values[stride_name(layer)] == stride else None

    name = _place(layer, stride)
    return [*slots, Slot(name, (*here, PRECISION), passed, edges, Slot(name, (PRECISION,), added, edges))]


def _operator(operation: str, shape: Shape, precision: str) -> Operator | None:
    """What an edge of a cell does; None where it passes its node on."""
    if operation == "skip":
        return None
    if operation == "avg_pool_3x3":
        return Operator.of("pool", shape, shape, precision, kernel=3, stride=1, mode="average", padding=1)
    kernel = 3 if operation == "conv_3x3" else 5
    return Operator.of("relu_conv_bn", shape, shape, precision, kernel=kernel, stride=1, affine=False)


def _heads(s: _Skeleton) -> list[Slot]:
    """Behind the last layer's nodes: classes by a 1x1 convolution, as real numbers, at the image's size; their sum."""
    last, whole = stride_name(s.layers), (s.classes, *s.size)
    slots = []
    for stride in s.strides:
        slots += _head(s, stride)
    ups = tuple(f"head.{stride}.resize" for stride in s.trellis.nodes(s.layers))

    def added(values: Values) -> Operator | None:
        return Operator.of("sum", (whole,) * len(ups), whole) if len(ups) > 1 else None

    relaxed = Slot("output", (), added, ups)
    return [*slots, Slot("output", (last,), lambda v: None, lambda v: (f"head.{v[last]}.resize",), relaxed)]


def _head(s: _Skeleton, stride: int) -> list[Slot]:
    last, shape, whole = stride_name(s.layers), s.shape(stride), (s.classes, *s.size)
    small, name = (s.classes, *shape[1:]), f"head.{stride}"
    reached = stride in s.trellis.nodes(s.layers)

    def classify(values: Values) -> Operator:
        precision = values[PRECISION]
        return Operator.of("conv_bn_act", shape, small, precision, kernel=1, stride=1, activation="none")

    def leave(values: Values) -> Operator | None:
        return conversion(values[PRECISION], FULL_PRECISION, small)

    def enlarge(values: Values) -> Operator:
        return Operator.of("resize", small, whole)

    def only_here(name: str, own: tuple[str, ...], build: Build, source: str, soft: tuple[str, ...] = ()) -> Slot:
        def hard(values: Values) -> Operator | None:
            return build(values) if values[last] == stride else None

        return Slot(name, (last, *own), hard, (source,), Slot(name, (*soft, *own), build, (source,)))

    return [
        only_here(name, (PRECISION,), classify, _place(s.layers, stride)),
        only_here(f"{name}.leave", (PRECISION,), leave, name),
        only_here(f"{name}.resize", (), enlarge, f"{name}.leave", (end_name(stride),) * reached),
    ]
