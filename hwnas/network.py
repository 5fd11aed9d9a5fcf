"""Port, Operator, Node, Network: the only thing the cost side and the export side see of an architecture.

An `Operator` is the fused block that runs on a device (conv + BN + activation, a whole inverted residual, ...): the
unit a table measures. `hwnas/blocks/<kind>.py` expands it into primitive `Layer`s, which `hwnas/ops/` knows to train,
quantise and lower. A `Network` is a graph of operators: every node names what it reads. Shapes leave the batch out.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any, TypeVar

from hwnas import find
from hwnas.errors import HwnasError, nearest_names

Shape = tuple[int, ...]
Precision = str  # a format's name: hwnas/formats/<name>.py
FULL_PRECISION = "fp32"  # the format that others are compared with, and a layer's where its block asks for none
Attribute = int | float | str | bool
INPUT = "x"  # the name of a network's only input; the layers of a block call theirs "input", "input1", ...
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Port:
    """What crosses an edge: a shape without the batch, and the type of its values.

    "float32" stands for real values, in whatever code the format of the block exchanges them (hwnas/formats); other
    types are what they say: "int64" token identities, "uint8" bytes.
    """

    shape: Shape
    dtype: str = "float32"

    def __str__(self) -> str:
        return str(self.shape) if self.dtype == "float32" else f"{self.dtype} {self.shape}"


@lru_cache(maxsize=64)
def require_precision(name: str) -> None:
    """HwnasError unless there is a format of that name."""
    if not isinstance(name, str) or not find.has("formats", name):
        known = find.names("formats")
        raise HwnasError(
            f"precision must be one of {', '.join(known)}, got {name!r}", nearest=nearest_names(str(name), known)
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """One primitive inside a block. `inputs` name earlier layers of the block, or the block's own inputs: "input",
    "input1", "input2", ... `more_shapes` are the shapes of the inputs after the first; none where all are alike."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    in_shape: Shape
    out_shape: Shape
    precision: Precision = FULL_PRECISION
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: str = "none"
    attributes: tuple[tuple[str, Attribute], ...] = ()
    more_shapes: tuple[Shape, ...] = ()

    def __getitem__(self, name: str) -> Any:
        """An attribute of this kind of layer; HwnasError where it has none of that name."""
        return _attribute(self.attributes, f"layer {self.kind}", name)

    def optional(self, name: str, default: Attribute) -> Any:
        """An attribute that this kind of layer need not have."""
        return dict(self.attributes).get(name, default)

    @property
    def in_shapes(self) -> tuple[Shape, ...]:
        """The shape of every input."""
        return (self.in_shape, *(self.more_shapes or (self.in_shape,) * (len(self.inputs) - 1)))


def _port(given: Shape | Port) -> Port:
    return given if isinstance(given, Port) else _real(tuple(given))


@lru_cache(maxsize=65536)
def _real(shape: Shape) -> Port:
    """The port of a shape of real values; equal ones are one object, so that comparing them takes no time."""
    return Port(shape)


def _attribute(attributes: tuple[tuple[str, Attribute], ...], where: str, name: str) -> Any:
    for key, value in attributes:
        if key == name:
            return value
    raise HwnasError(f"{where} has no attribute {name!r}", hint=f"it has {[k for k, _ in attributes]}")


@dataclass(frozen=True, slots=True)
class Operator:
    """A fused block with everything that decides its cost; equal operators cost the same and share one table row.

    It reads one or several tensors and gives one: nothing that is searched or trained here gives two, and a network
    has as many outputs as it names.
    """

    kind: str
    inputs: tuple[Port, ...]
    output: Port
    precision: Precision = FULL_PRECISION
    attributes: tuple[tuple[str, Attribute], ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)  # asked for at every price: of nested tuples it is slow

    def __post_init__(self) -> None:
        parts = (self.kind, self.inputs[0].shape, self.output.shape, self.precision, self.attributes)
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def of(
        cls,
        kind: str,
        inputs: Shape | Port | Sequence[Shape | Port],
        output: Shape | Port,
        precision: Precision = FULL_PRECISION,
        **attributes: Attribute,
    ) -> Operator:
        """The operator with its attributes in canonical (sorted) order. `inputs` is one shape or port, or several."""
        require_precision(precision)
        one = isinstance(inputs, Port) or not inputs or isinstance(inputs[0], int)
        ports = (_port(inputs),) if one else tuple(_port(each) for each in inputs)  # type: ignore[arg-type, union-attr]
        return cls(kind, ports, _port(output), precision, tuple(sorted(attributes.items())))  # type: ignore[arg-type]

    def __getitem__(self, name: str) -> Any:
        return _attribute(self.attributes, f"operator {self.kind}", name)

    def __str__(self) -> str:
        attributes = "".join(f" {name}={value}" for name, value in self.attributes)
        return f"{self.kind}/{self.precision} {' + '.join(map(str, self.inputs))} -> {self.output}{attributes}"

    @property
    def input_shape(self) -> Shape:
        """The shape of its first input."""
        return self.inputs[0].shape

    @property
    def output_shape(self) -> Shape:
        return self.output.shape

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The primitives this block is made of, in order; the last one gives the block's output."""
        return _expand(self)


@lru_cache(maxsize=65536)
def _expand(operator: Operator) -> tuple[Layer, ...]:
    expand = defined(operator.kind, "blocks", "layers")
    try:
        layers: tuple[Layer, ...] = expand(operator)
    except (TypeError, ValueError, ArithmeticError) as error:  # an attribute out of a table may be of any type and size
        raise HwnasError(f"{str(operator)[:300]} is no {operator.kind}: {error}") from error
    return layers


def defined(kind: str, folder: str, name: str) -> Any:
    """What the file of a kind defines as `name`: a thing the finder finds, or a module that is loaded already.

    A kind may come out of a stranger's table, so an import path is never imported here: the space that uses a block of
    its own imports the block's file. HwnasError where there is no such file, or it defines nothing of that name.
    """
    if "." in kind:
        module = sys.modules.get(kind)
    else:
        module = find.load(folder, kind) if find.has(folder, kind) else None
    found = vars(module).get(name) if module else None
    if found is None or isinstance(found, ModuleType):
        raise HwnasError(
            f"no {folder.removesuffix('s')} named {kind!r}",
            hint=f"a file in hwnas/{folder}/ that defines {name}, or the path of a module that the space imports",
        )
    return found


@dataclass(frozen=True, slots=True)
class Node:
    """An operator at a named place of a network, and the nodes or network inputs it reads, in the operator's order.

    `probability` is how likely the operator stands here: 1.0 when hard, a tensor when soft. A mix has `weights`, one
    an input, and sums its inputs by them as they are given; its operator says only what shapes it reads and gives.
    """

    name: str
    operator: Operator
    inputs: tuple[str, ...] = (INPUT,)
    probability: Any = 1.0
    weights: tuple[Any, ...] = ()

    @property
    def is_mix(self) -> bool:
        return bool(self.weights)


@dataclass(frozen=True)
class Network:
    """A graph of operators: `nodes` in an order in which each reads network inputs and earlier nodes only.

    `outputs` are the nodes that give its outputs; `called` is how each of several is known where that is not the
    node's name, since one architecture may have a node where another has none. HwnasError where two nodes have one
    name, or one reads what is not there before it or not of the shape it takes.
    """

    inputs: Mapping[str, Port]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    called: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = dict(self.inputs)
        for node in self.nodes:
            if node.name in known:
                raise HwnasError(f"the network names {node.name!r} twice")
            if len(node.inputs) != len(node.operator.inputs):
                raise HwnasError(f"{node.name} reads {len(node.inputs)} tensors, {node.operator} takes another number")
            for source, port in zip(node.inputs, node.operator.inputs, strict=True):
                if source not in known:
                    raise HwnasError(f"{node.name} reads {source!r}, which does not come before it")
                if known[source] is not port and known[source] != port:
                    raise HwnasError(f"{node.name} reads {port} but is given {known[source]}")
            known[node.name] = node.operator.output
        lacking = [name for name in self.outputs if name not in known]
        if lacking or not self.outputs:
            raise HwnasError(f"the network gives {lacking[0]!r}, which no node is" if lacking else "it gives nothing")
        if len(set(self.outputs)) < len(self.outputs) or len(self.gives) < len(self.outputs):
            raise HwnasError(f"the network gives one thing twice: {', '.join(self.called or self.outputs)}")

    def __hash__(self) -> int:
        return hash((tuple(self.inputs.items()), self.nodes, self.outputs))

    @classmethod
    def chain(cls, nodes: Sequence[Node | tuple[str, Operator]]) -> Network:
        """The network whose every node reads the one before it, the first one the network's input."""
        named = [(node.name, node.operator) if isinstance(node, Node) else node for node in nodes]
        if not named:
            raise HwnasError("a network needs at least one operator")
        sources = [INPUT, *(name for name, _ in named[:-1])]
        linked = tuple(Node(name, op, (source,)) for (name, op), source in zip(named, sources, strict=True))
        return cls({INPUT: linked[0].operator.inputs[0]}, linked, (named[-1][0],))

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def input_shape(self) -> Shape:
        """The shape of its first input."""
        return next(iter(self.inputs.values())).shape

    @cached_property
    def ports(self) -> dict[str, Port]:
        """What every network input and every node gives."""
        return {**self.inputs, **{node.name: node.operator.output for node in self.nodes}}

    @cached_property
    def gives(self) -> dict[str, str]:
        """The node that gives each output, by the output's name."""
        return dict(zip(self.called or self.outputs, self.outputs, strict=True))

    @property
    def output_shape(self) -> Shape:
        """The shape of its first output."""
        return self.ports[self.outputs[0]].shape

    @property
    def wiring(self) -> tuple[tuple[Operator, tuple[int, ...]], ...]:
        """The network without its names: every operator, and by position what it reads (below 0: network inputs)."""
        place = {
            name: i for i, name in enumerate([*self.inputs, *(node.name for node in self.nodes)], -len(self.inputs))
        }
        return tuple((node.operator, tuple(place[name] for name in node.inputs)) for node in self.nodes)

    @property
    def operators(self) -> tuple[Operator, ...]:
        return tuple(node.operator for node in self.nodes if not node.is_mix)

    def layers(self) -> list[tuple[str, Layer]]:
        """Every primitive with its full name `<node>.<layer>`."""
        return [(f"{node.name}.{layer.name}", layer) for node in self.nodes for layer in node.operator.layers]


def walk(network: Network, run: Callable[[Node, tuple[T, ...]], T], given: Mapping[str, T]) -> dict[str, T]:
    """The values of the network's outputs: `run(node, its inputs' values)` for every node in order, from those
    `given` for the network's inputs. A value is dropped after its last reader."""
    missing = [name for name in network.inputs if name not in given]
    if missing:
        raise HwnasError(f"the network's input {missing[0]!r} must be given", hint=f"it has {list(network.inputs)}")
    readers = Counter(source for node in network.nodes for source in set(node.inputs))
    readers.update(network.outputs)
    values: dict[str, T] = dict(given)
    for node in network.nodes:
        values[node.name] = run(node, tuple(values[source] for source in node.inputs))
        for source in set(node.inputs):
            readers[source] -= 1
            if not readers[source]:
                del values[source]
        if not readers[node.name]:
            del values[node.name]
    return {name: values[node] for name, node in network.gives.items()}


def elements(shape: Sequence[int]) -> int:
    """Number of elements of a tensor of this shape."""
    return math.prod(shape)


def describe(attributes: Mapping[str, Attribute]) -> str:
    """`kernel=3 stride=2`, for messages and tables."""
    return " ".join(f"{name}={value}" for name, value in attributes.items())
