"""Choice, Architecture, Mix, SearchSpace: everything searched is a named choice whose options are readable values.

A space is a list of `Slot`s. A slot names the choices it reads and builds the operator that stands there (or None:
nothing stands there), so lowering, costing a million architectures at once and exact bounds all follow from one
declaration, and no space ever knows how a table spells its rows.
"""

from __future__ import annotations

import fnmatch
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hwnas.errors import HwnasError, unknown
from hwnas.network import Network, Node, Operator

Value = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One searched decision. Options are values ("s3.kernel": 3, 5, 7), smallest first where they have an order.

    `role` says what the decision is about where something else must know: "precision" (options are formats, the most
    precise first), "resolution" (of the input), or "architecture".
    """

    name: str
    options: tuple[Value, ...]
    role: str = "architecture"

    def __post_init__(self) -> None:
        if not self.options:
            raise HwnasError(f"choice {self.name!r} needs at least one option")
        if len(set(self.options)) != len(self.options):
            raise HwnasError(f"choice {self.name!r} lists an option twice: {list(self.options)}")


@dataclass(frozen=True, slots=True)
class Mix:
    """A soft pick: the listed options run and are summed with these weights (a tensor or numbers, one an option)."""

    options: tuple[Value, ...]
    weights: Any


class Architecture(Mapping[str, Value]):
    """A value for every choice of a space; hashable, so it can key a cache. It holds values, not indices."""

    __slots__ = ("_hash", "_values")

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)
        self._hash = hash(tuple(sorted((k, str(v)) for k, v in self._values.items())))

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self._values == other._values

    def __repr__(self) -> str:
        return f"Architecture({self._values})"


Selection = Mapping[str, Value | Mix]


@dataclass(frozen=True, slots=True)
class Slot:
    """A named place in the network: the choices it reads, and the operator that stands there under their values."""

    name: str
    depends: tuple[str, ...]
    build: Callable[[Mapping[str, Any]], Operator | None]


@dataclass(frozen=True)
class SearchSpace:
    """Named choices and the slots they fill. `classes` and `in_channels` are those of the data."""

    name: str
    choices: tuple[Choice, ...]
    slots: tuple[Slot, ...]
    in_channels: int
    classes: int

    def __post_init__(self) -> None:
        names = [choice.name for choice in self.choices]
        if len(set(names)) != len(names):
            raise HwnasError(f"space {self.name!r} names a choice twice")
        for slot in self.slots:
            for name in slot.depends:
                if name not in self.by_name:
                    raise unknown(f"choice in slot {slot.name}", name, names)

    @cached_property
    def by_name(self) -> dict[str, Choice]:
        return {choice.name: choice for choice in self.choices}

    @cached_property
    def size(self) -> int:
        """Number of genotypes; several may lower to the same network."""
        return math.prod(len(choice.options) for choice in self.choices)

    def architecture(self, values: Mapping[str, Any]) -> Architecture:
        """`values` checked against the choices, in the space's own order. HwnasError names what is wrong."""
        for name in values:
            if name not in self.by_name:
                raise unknown(f"choice of space {self.name!r}", name, self.by_name)
        picked: dict[str, Value] = {}
        for choice in self.choices:
            if choice.name not in values:
                raise HwnasError(
                    f"an architecture of {self.name!r} must give {choice.name!r}", hint=f"one of {list(choice.options)}"
                )
            value = values[choice.name]
            if value not in choice.options:
                raise HwnasError(f"{choice.name} must be one of {list(choice.options)}, got {value!r}")
            picked[choice.name] = choice.options[choice.options.index(value)]
        return Architecture(picked)

    def smallest(self) -> Architecture:
        """The first option of every choice."""
        return Architecture({choice.name: choice.options[0] for choice in self.choices})

    def largest(self) -> Architecture:
        """The last option of every choice; choices of a precision keep their first, the most precise."""
        return Architecture({c.name: c.options[0 if c.role == "precision" else -1] for c in self.choices})

    def random(self, rng: np.random.Generator) -> Architecture:
        """A uniform draw from every choice."""
        return Architecture({choice.name: choice.options[rng.integers(len(choice.options))] for choice in self.choices})

    def encode(self, architectures: Sequence[Mapping[str, Value]]) -> np.ndarray:
        """Option indices, int64 (n, choices), in the space's own order."""
        index = [{option: i for i, option in enumerate(choice.options)} for choice in self.choices]
        rows = [[table[a[c.name]] for table, c in zip(index, self.choices, strict=True)] for a in architectures]
        return np.asarray(rows, dtype=np.int64).reshape(len(rows), len(self.choices))

    def decode(self, codes: np.ndarray) -> list[Architecture]:
        """The architectures of option indices (n, choices)."""
        return [
            Architecture({c.name: c.options[int(i)] for c, i in zip(self.choices, row, strict=True)}) for row in codes
        ]

    def lower(self, selection: Selection) -> Network:
        """The network of a selection. Hard: one node a slot, probability 1. Soft: a node an option, with its weight."""
        nodes = [node for slot in self.slots for node in lower_slot(slot, selection)]
        if not nodes:
            raise HwnasError(f"space {self.name!r} lowers to no operator at all")
        return Network(tuple(nodes), nodes[0].operator.input_shape, min(nodes[0].operator.input_shape[-2:]))

    def operators_of(self, slot: Slot) -> list[Operator]:
        """Every distinct operator that can stand in `slot`."""
        options = [self.by_name[name].options for name in slot.depends]
        built = (slot.build(dict(zip(slot.depends, values, strict=True))) for values in itertools.product(*options))
        return list(dict.fromkeys(operator for operator in built if operator is not None))

    def operators(self) -> list[Operator]:
        """Every distinct operator the space can use: the rows a table of it needs."""
        return list(dict.fromkeys(operator for slot in self.slots for operator in self.operators_of(slot)))

    def restrict(self, allowed: Mapping[str, Sequence[Value]]) -> SearchSpace:
        """The space with fewer options: keys are choice names or patterns (`*.precision`), values the options kept.

        Options keep their values, so architectures of the narrowed space are architectures of this one.
        """
        for pattern in allowed:
            if not any(fnmatch.fnmatchcase(name, pattern) for name in self.by_name):
                raise unknown(f"choice of space {self.name!r}", pattern, self.by_name)
        return replace(self, choices=tuple(_narrowed(choice, allowed) for choice in self.choices))

    def times(self, other: SearchSpace, prefix: str = "") -> SearchSpace:
        """The joint space of this one and `other` (a training recipe, an accelerator): all choices, all slots."""
        renamed = tuple(replace(choice, name=prefix + choice.name) for choice in other.choices)
        moved = tuple(_prefixed(slot, prefix) for slot in other.slots)
        joint = replace(
            self, name=f"{self.name}*{other.name}", choices=self.choices + renamed, slots=self.slots + moved
        )
        return joint


def _narrowed(choice: Choice, allowed: Mapping[str, Sequence[Value]]) -> Choice:
    for pattern, kept in allowed.items():
        if fnmatch.fnmatchcase(choice.name, pattern):
            for value in kept:
                if value not in choice.options and pattern == choice.name:
                    raise HwnasError(f"{choice.name} must be one of {list(choice.options)}, got {value!r}")
            options = tuple(option for option in choice.options if option in kept)
            if not options:
                raise HwnasError(f"restricting {choice.name} to {list(kept)} leaves none of {list(choice.options)}")
            choice = replace(choice, options=options)
    return choice


def _prefixed(slot: Slot, prefix: str) -> Slot:
    names = {prefix + name: name for name in slot.depends}
    return Slot(
        prefix + slot.name, tuple(names), lambda values: slot.build({old: values[new] for new, old in names.items()})
    )


def lower_slot(slot: Slot, selection: Selection) -> list[Node]:
    """The nodes of one slot: one when hard; when soft, one for every combination of the mixed options."""
    values = {name: selection[name] for name in slot.depends}
    mixed = [name for name, value in values.items() if isinstance(value, Mix)]
    if not mixed:
        operator = slot.build(values)
        return [] if operator is None else [Node(slot.name, operator)]
    merged: dict[Operator, Any] = {}
    for combination in itertools.product(*(range(len(values[name].options)) for name in mixed)):  # type: ignore[union-attr]
        hard, probability = dict(values), None
        for name, i in zip(mixed, combination, strict=True):
            mix = values[name]
            assert isinstance(mix, Mix)
            hard[name] = mix.options[i]
            probability = mix.weights[i] if probability is None else probability * mix.weights[i]
        operator = slot.build(hard)
        if operator is not None:
            merged[operator] = merged[operator] + probability if operator in merged else probability
    return [Node(slot.name, operator, probability) for operator, probability in merged.items()]
