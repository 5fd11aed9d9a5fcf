"""nas_bench_201: the cell of NAS-Bench-201 (Dong and Yang, ICLR 2020, arXiv:2001.00326), one cell for all places.

A cell is a graph of four nodes; its six edges each do one of five things, and a node is the sum of its edges:

    node 0 = the cell's input;  node j = sum over i < j of edge(i, j)(node i);  node 3 = the cell's output

    conv 3x3 -> [cell x cells] -> residual, stride 2 -> [cell x cells] -> residual, stride 2 -> [cell x cells] -> head

Its 15,625 architectures have published accuracies, so that a search here can be told how good its pick really is.
Differs: relu, global pool and classifier without the batch norm before them; the residual block's shortcut convolution
has batch norm; `cells` and `width` are settings (published: 5 cells a stage, width 16).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hwnas.errors import HwnasError
from hwnas.network import FULL_PRECISION, Operator, Shape
from hwnas.space import PREVIOUS, Choice, SearchSpace, Slot, private
from hwnas.spaces.resolution import checked_size
from hwnas.spaces.staged import checked_precisions, conversion

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # in the benchmark's own order
STAGES = 3
PRECISION = "precision"

Values = Mapping[str, Any]


def edge_name(source: int, target: int) -> str:
    """The choice of an edge: "edge.0-1"."""
    return f"edge.{source}-{target}"


def nas_bench_201(
    in_channels: int,
    classes: int,
    width: int = 16,
    cells: int = 5,
    image_size: Sequence[int] | None = None,
    operations: Sequence[str] = OPERATIONS,
    affine: bool = True,
    precisions: Sequence[str] = ("fp32", "int8"),
) -> SearchSpace:
    """The space for images of `in_channels` and `classes`, as large as the data's (`image_size`, 32 x 32 by default).

    `affine` False leaves batch norm's scale and shift out of the edges: what a search by gradients needs. One choice,
    `precision`, is every block's. HwnasError where an operation is unknown or the image too small for two halvings.
    """
    wrong = [name for name in operations if name not in OPERATIONS]
    if wrong or not operations:
        raise HwnasError(f"operations must be among {', '.join(OPERATIONS)}, got {list(operations)}")
    size = checked_size(image_size) or (32, 32)
    if min(size) % 4:
        raise HwnasError(f"nas_bench_201 halves the image twice: its sides must be multiples of 4, got {size}")
    if width < 1 or cells < 1:
        raise HwnasError(f"nas_bench_201 needs width and cells of at least 1, got {width} and {cells}")
    shapes = [(width << stage, size[0] >> stage, size[1] >> stage) for stage in range(STAGES)]
    image = (in_channels, *size)
    slots = [
        _entering("input", image),
        _fixed("stem", lambda p: _conv(image, shapes[0], p, kernel=3)),
    ]
    for stage, shape in enumerate(shapes):
        if stage:
            slots += _residual(f"r{stage}", slots[-1].name, shapes[stage - 1], shape)
        for cell in range(cells):
            slots += _cell(f"s{stage}.c{cell}", slots[-1].name, shape, affine)
    slots.append(_fixed("last", lambda p: Operator.of("relu", shapes[-1], shapes[-1], p)))
    slots.append(_fixed("head", lambda p: Operator.of("pool_dense", shapes[-1], (classes,), p, classes=classes)))
    slots.append(Slot("output", (PRECISION,), lambda v: conversion(v[PRECISION], FULL_PRECISION, (classes,))))
    choices = [Choice(edge_name(*edge), tuple(operations)) for edge in EDGES]
    choices.append(Choice(PRECISION, checked_precisions(precisions), "precision"))
    return SearchSpace("nas_bench_201", tuple(choices), tuple(slots), in_channels, classes, sharing=private)


def _fixed(name: str, build: Callable[[str], Operator | None], inputs: tuple[str, ...] = (PREVIOUS,)) -> Slot:
    """A slot whose operator nothing but the precision decides."""
    return Slot(name, (PRECISION,), lambda values: build(values[PRECISION]), inputs)


def _entering(name: str, shape: Shape) -> Slot:
    return Slot(name, (PRECISION,), lambda values: conversion(FULL_PRECISION, values[PRECISION], shape))


def _conv(shape: Shape, result: Shape, precision: str, kernel: int) -> Operator:
    return Operator.of("conv_bn_act", shape, result, precision, kernel=kernel, stride=1, activation="none")


def _residual(name: str, source: str, shape: Shape, result: Shape) -> list[Slot]:
    """Two relu-conv-BN, the first of stride 2, beside an average pool and a 1x1 convolution; their sum."""
    pooled = (shape[0], *result[1:])
    both = (f"{name}.b", f"{name}.shortcut")
    return [
        _fixed(f"{name}.a", lambda p: Operator.of("relu_conv_bn", shape, result, p, kernel=3, stride=2), (source,)),
        _fixed(f"{name}.b", lambda p: Operator.of("relu_conv_bn", result, result, p, kernel=3, stride=1)),
        _fixed(
            f"{name}.pool", lambda p: Operator.of("pool", shape, pooled, p, kernel=2, stride=2, mode="average"),
            (source,),
        ),
        _fixed(f"{name}.shortcut", lambda p: _conv(pooled, result, p, kernel=1)),
        _fixed(f"{name}.sum", lambda p: Operator.of("sum", (result, result), result, p), both),
    ]  # fmt: skip


# Whether a node of the cell is read at all depends on the edges that leave it, and what is not read must cost nothing.
LEAVING = {1: (edge_name(1, 2), edge_name(1, 3), edge_name(2, 3)), 2: (edge_name(2, 3),), 3: ()}


def is_read(node: int, values: Values) -> bool:
    """Whether the cell's output reads this node, directly or through node 2."""
    if node == 3:
        return True
    direct = values[edge_name(node, 3)] != "none"
    return direct or (node == 1 and values[edge_name(1, 2)] != "none" and is_read(2, values))


def _cell(name: str, source: str, shape: Shape, affine: bool) -> list[Slot]:
    """The slots of one cell: a node's edges, then the node."""
    slots = []
    nodes = {0: source, **{node: f"{name}.n{node}" for node in (1, 2, 3)}}
    for node in (1, 2, 3):
        edges = [edge for edge in EDGES if edge[1] == node]
        slots += [_edge(f"{name}.{i}-{j}", (i, j), nodes[i], shape, affine) for i, j in edges]
        slots.append(_node(name, node, source, shape))
    return slots


def _edge(name: str, edge: tuple[int, int], source: str, shape: Shape, affine: bool) -> Slot:
    own = edge_name(*edge)
    depends = dict.fromkeys((own, *LEAVING[edge[1]], PRECISION))

    def any_way(values: Values) -> Operator | None:
        return _operator(values[own], shape, values[PRECISION], affine)

    def build(values: Values) -> Operator | None:
        return any_way(values) if is_read(edge[1], values) and values[own] != "none" else None

    return Slot(name, tuple(depends), build, (source,), Slot(name, (own, PRECISION), any_way, (source,)))


def _operator(operation: str, shape: Shape, precision: str, affine: bool) -> Operator | None:
    """What an edge does; None where it passes its node on."""
    if operation == "skip_connect":
        return None
    if operation == "none":
        return Operator.of("zero", shape, shape, precision)
    if operation == "avg_pool_3x3":
        return Operator.of("pool", shape, shape, precision, kernel=3, stride=1, mode="average", padding=1)
    kernel = 1 if operation == "nor_conv_1x1" else 3
    learnt: dict[str, Any] = {} if affine else {"affine": False}
    return Operator.of("relu_conv_bn", shape, shape, precision, kernel=kernel, stride=1, **learnt)


def _node(name: str, node: int, source: str, shape: Shape) -> Slot:
    """The sum of the edges that carry something: nothing to add for one, zeros for none."""
    arriving = [edge for edge in EDGES if edge[1] == node]
    depends = tuple(dict.fromkeys((*(edge_name(*edge) for edge in arriving), *LEAVING[node], PRECISION)))

    def carrying(values: Values) -> tuple[str, ...]:
        return tuple(f"{name}.{i}-{j}" for i, j in arriving if values[edge_name(i, j)] != "none")

    def inputs(values: Values) -> tuple[str, ...]:
        return (is_read(node, values) and carrying(values)) or (source,)

    def build(values: Values) -> Operator | None:
        if not is_read(node, values):
            return None
        count, precision = len(carrying(values)), values[PRECISION]
        return _sum(count, shape, precision) if count else Operator.of("zero", shape, shape, precision)

    everything = tuple(f"{name}.{i}-{j}" for i, j in arriving)
    soft = _fixed(f"{name}.n{node}", lambda p: _sum(len(arriving), shape, p), everything)
    return Slot(f"{name}.n{node}", depends, build, inputs, soft)


def _sum(count: int, shape: Shape, precision: str) -> Operator | None:
    return Operator.of("sum", (shape,) * count, shape, precision) if count > 1 else None
