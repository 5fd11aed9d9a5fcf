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
from hwnas.network import Operator, Shape
from hwnas.space import Choice, SearchSpace, Slot, private
from hwnas.spaces.resolution import checked_size

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # in the benchmark's own order
STAGES = 3

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
) -> SearchSpace:
    """The space for images of `in_channels` and `classes`, as large as the data's (`image_size`, 32 x 32 by default).

    `affine` False leaves batch norm's scale and shift out of the edges: what a search by gradients needs. HwnasError
    where an operation is unknown or the image too small for two halvings.
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
    slots = [Slot("stem", (), _always(_conv((in_channels, *size), shapes[0], kernel=3, stride=1)))]
    for stage, shape in enumerate(shapes):
        if stage:
            slots += _residual(f"r{stage}", slots[-1].name, shapes[stage - 1], shape)
        for cell in range(cells):
            slots += _cell(f"s{stage}.c{cell}", slots[-1].name, shape, affine)
    slots.append(Slot("last", (), _always(Operator.of("relu", shapes[-1], shapes[-1]))))
    slots.append(Slot("head", (), _always(Operator.of("pool_dense", shapes[-1], (classes,), classes=classes))))
    choices = tuple(Choice(edge_name(*edge), tuple(operations)) for edge in EDGES)
    return SearchSpace("nas_bench_201", choices, tuple(slots), in_channels, classes, sharing=private)


def _always(operator: Operator) -> Callable[[Values], Operator]:
    return lambda values: operator


def _conv(shape: Shape, result: Shape, kernel: int, stride: int) -> Operator:
    return Operator.of("conv_bn_act", shape, result, kernel=kernel, stride=stride, activation="none")


def _residual(name: str, source: str, shape: Shape, result: Shape) -> list[Slot]:
    """Two relu-conv-BN, the first of stride 2, beside an average pool and a 1x1 convolution; their sum."""
    pooled = (shape[0], *result[1:])
    first = Operator.of("relu_conv_bn", shape, result, kernel=3, stride=2)
    second = Operator.of("relu_conv_bn", result, result, kernel=3, stride=1)
    pool = Operator.of("pool", shape, pooled, kernel=2, stride=2, mode="average")
    both = (f"{name}.b", f"{name}.shortcut")
    return [
        Slot(f"{name}.a", (), _always(first), (source,)),
        Slot(f"{name}.b", (), _always(second)),
        Slot(f"{name}.pool", (), _always(pool), (source,)),
        Slot(f"{name}.shortcut", (), _always(_conv(pooled, result, kernel=1, stride=1))),
        Slot(f"{name}.sum", (), _always(Operator.of("sum", (result, result), result)), both),
    ]


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
    own, depends = edge_name(*edge), dict.fromkeys((edge_name(*edge), *LEAVING[edge[1]]))

    def build(values: Values) -> Operator | None:
        return _operator(values[own], shape, affine) if is_read(edge[1], values) and values[own] != "none" else None

    soft = Slot(name, (own,), lambda values: _operator(values[own], shape, affine), (source,))
    return Slot(name, tuple(depends), build, (source,), soft)


def _operator(operation: str, shape: Shape, affine: bool) -> Operator | None:
    """What an edge does; None where it passes its node on."""
    if operation == "skip_connect":
        return None
    if operation == "none":
        return Operator.of("zero", shape, shape)
    if operation == "avg_pool_3x3":
        return Operator.of("pool", shape, shape, kernel=3, stride=1, mode="average", padding=1)
    kernel = 1 if operation == "nor_conv_1x1" else 3
    learnt: dict[str, Any] = {} if affine else {"affine": False}
    return Operator.of("relu_conv_bn", shape, shape, kernel=kernel, stride=1, **learnt)


def _node(name: str, node: int, source: str, shape: Shape) -> Slot:
    """The sum of the edges that carry something: nothing to add for one, zeros for none."""
    arriving = [edge for edge in EDGES if edge[1] == node]
    depends = tuple(dict.fromkeys((*(edge_name(*edge) for edge in arriving), *LEAVING[node])))

    def carrying(values: Values) -> tuple[str, ...]:
        return tuple(f"{name}.{i}-{j}" for i, j in arriving if values[edge_name(i, j)] != "none")

    def inputs(values: Values) -> tuple[str, ...]:
        return (is_read(node, values) and carrying(values)) or (source,)

    def build(values: Values) -> Operator | None:
        if not is_read(node, values):
            return None
        count = len(carrying(values))
        return _sum(count, shape) if count else Operator.of("zero", shape, shape)

    everything = tuple(f"{name}.{i}-{j}" for i, j in arriving)
    soft = Slot(f"{name}.n{node}", (), lambda values: _sum(len(arriving), shape), everything)
    return Slot(f"{name}.n{node}", depends, build, inputs, soft)


def _sum(count: int, shape: Shape) -> Operator | None:
    return Operator.of("sum", (shape,) * count, shape) if count > 1 else None
