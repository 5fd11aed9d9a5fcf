"""Operator, Node, Network: the only thing the cost side and the export side see of an architecture.

An `Operator` is the fused block that runs on a device (conv + BN + activation, a whole inverted residual, ...): the
unit a table measures. `hwnas/blocks/<kind>.py` expands it into primitive `Layer`s, which `hwnas/ops/` knows to train,
quantise and lower. Shapes leave the batch out: (channels, height, width).
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from hwnas.errors import HwnasError

Shape = tuple[int, ...]
Precision = Literal["fp32", "int8", "w1a1"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "w1a1")
Attribute = int | float | str | bool
INPUT = "input"  # the name of a network's only input, and of a block's first


@dataclass(frozen=True, slots=True)
class Port:
    """What crosses an edge: a shape without the batch, and the type of its values.

    "float32" stands for real values, in whatever code the format of the block exchanges them (docs/formats.md); other
    types are what they say: "int64" token identities, "uint8" bytes.
    """

    shape: Shape
    dtype: str = "float32"

    def __str__(self) -> str:
        return str(self.shape) if self.dtype == "float32" else f"{self.dtype} {self.shape}"


@dataclass(frozen=True, slots=True)
class Layer:
    """One primitive inside a block. `inputs` name earlier layers of the block, or 'input' for the block's own input."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    in_shape: Shape
    out_shape: Shape
    precision: Precision = "fp32"
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: str = "none"
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Operator:
    """A fused block with everything that decides its cost; equal operators cost the same and share one table row."""

    kind: str
    input_shape: Shape
    output_shape: Shape
    precision: Precision = "fp32"
    attributes: tuple[tuple[str, Attribute], ...] = ()

    @classmethod
    def of(
        cls, kind: str, input_shape: Shape, output_shape: Shape, precision: str = "fp32", **attributes: Attribute
    ) -> Operator:
        """The operator with its attributes in canonical (sorted) order."""
        if precision not in PRECISIONS:
            raise HwnasError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        return cls(kind, tuple(input_shape), tuple(output_shape), precision, tuple(sorted(attributes.items())))

    def __getitem__(self, name: str) -> Any:
        for key, value in self.attributes:
            if key == name:
                return value
        raise HwnasError(
            f"operator {self.kind} has no attribute {name!r}", hint=f"it has {[k for k, _ in self.attributes]}"
        )

    def __str__(self) -> str:
        attributes = "".join(f" {name}={value}" for name, value in self.attributes)
        return f"{self.kind}/{self.precision} {self.input_shape} -> {self.output_shape}{attributes}"

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
    """What the file of a kind defines as `name`: `hwnas/<folder>/<kind>.py`, or a module that is loaded already.

    A kind may come out of a stranger's table, so an import path is never imported here: the space that uses a block of
    its own imports the block's file. HwnasError where there is no such file, or it defines nothing of that name.
    """
    if "." in kind:
        module = sys.modules.get(kind)
    else:
        known = kind.isidentifier() and Path(__file__).with_name(folder).joinpath(f"{kind}.py").is_file()
        module = importlib.import_module(f"hwnas.{folder}.{kind}") if known else None
    found = vars(module).get(name) if module else None
    if found is None or isinstance(found, ModuleType):
        raise HwnasError(
            f"no {folder.removesuffix('s')} named {kind!r}",
            hint=f"a file in hwnas/{folder}/ that defines {name}, or the path of a module that the space imports",
        )
    return found


@dataclass(frozen=True, slots=True)
class Node:
    """An operator at a named place of a network. `probability` is 1.0 when hard, a tensor when soft."""

    name: str
    operator: Operator
    probability: Any = 1.0


@dataclass(frozen=True)
class Network:
    """Operators in the order they run, each reading its predecessor's output."""

    nodes: tuple[Node, ...]
    input_shape: Shape
    resolution: int = field(default=0)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def operators(self) -> tuple[Operator, ...]:
        return tuple(node.operator for node in self.nodes)

    def layers(self) -> list[tuple[str, Layer]]:
        """Every primitive with its full name `<node>.<layer>`."""
        return [(f"{node.name}.{layer.name}", layer) for node in self.nodes for layer in node.operator.layers]


def elements(shape: Sequence[int]) -> int:
    """Number of elements of a tensor of this shape."""
    return math.prod(shape)


def describe(attributes: Mapping[str, Attribute]) -> str:
    """`kernel=3 stride=2`, for messages and tables."""
    return " ".join(f"{name}={value}" for name, value in attributes.items())
