"""Choice, Architecture, Mix, SearchSpace: everything searched is a named choice whose options are readable values.

A space is a list of `Slot`s. A slot names the choices it reads, the slots it reads, and builds the operator that stands
there (or None: nothing stands there, and who reads the slot reads what the slot would have read), so lowering, costing
a million architectures at once and exact bounds all follow from one declaration, and no space ever knows how a table
spells its rows.
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
from hwnas.network import FULL_PRECISION, INPUT, Network, Node, Operator, Port

Value = int | float | str | bool
PREVIOUS = "previous"  # in a slot's inputs: the slot before it, or the network's input for the first


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
    """A soft pick: the listed options run and are summed with these weights (a tensor or numbers, one an option), as
    they are given: they need not sum to 1. An option whose weight is the number 0 is not run."""

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


Inputs = tuple[str, ...] | Callable[[Mapping[str, Any]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Slot:
    """A named place in the network: the choices it reads, and the operator that stands there under their values.

    `inputs` are what the operator reads, in its order: names of earlier slots or of network inputs, or "previous"; a
    function of the values where which they are is itself a choice. `relaxed` is the slot that stands here where one of
    the choices it reads is a mix: the one that reads all it may read, or that does not ask whether anything reads it.
    What it depends on need be no choice: a soft selection may give more than a hard one, such as the weight of an edge
    (a `Mix` of one option) where the options of one choice weigh differently with every option of another.
    """

    name: str
    depends: tuple[str, ...]
    build: Callable[[Mapping[str, Any]], Operator | None]
    inputs: Inputs = (PREVIOUS,)
    relaxed: Slot | None = None


def entangled(operator: Operator) -> str:
    """One key for all: a smaller operator uses a part of a larger one's tensors."""
    return ""


def private(operator: Operator) -> str:
    """A key for each: every operator has tensors of its own, which its precisions of one family share."""
    return str(replace(operator, precision=FULL_PRECISION))


@dataclass(frozen=True)
class SearchSpace:
    """Named choices and the slots they fill. `classes` and `in_channels` are those of the data.

    `inputs` are the network's inputs; `outputs` the slots that give its outputs, none for the last one alone. In a
    supernet the operators of one slot share their tensors where `sharing` gives them one key: all of them (entangled
    weights) unless a space says otherwise.
    """

    name: str
    choices: tuple[Choice, ...]
    slots: tuple[Slot, ...]
    in_channels: int
    classes: int
    inputs: tuple[str, ...] = (INPUT,)
    outputs: tuple[str, ...] = ()
    sharing: Callable[[Operator], str] = entangled

    def __post_init__(self) -> None:
        names = [choice.name for choice in self.choices]
        if len(set(names)) != len(names):
            raise HwnasError(f"space {self.name!r} names a choice twice")
        known = {PREVIOUS, *self.inputs}
        for slot in self.slots:
            for name in slot.depends:
                if name not in self.by_name:
                    raise unknown(f"choice in slot {slot.name}", name, names)
            if slot.name in known or "/" in slot.name:
                raise HwnasError(f"space {self.name!r}: a slot cannot be named {slot.name!r}", hint="a name of its own")
            for name in () if callable(slot.inputs) else slot.inputs:
                if name not in known:
                    raise unknown(f"input of slot {slot.name}", name, sorted(known))
            known.add(slot.name)
        for name in self.outputs:
            if name not in known:
                raise unknown(f"output of space {self.name!r}", name, sorted(known))

    @cached_property
    def by_name(self) -> dict[str, Choice]:
        return {choice.name: choice for choice in self.choices}

    @cached_property
    def size(self) -> int:
        """Number of architectures; several may lower to the same network."""
        return math.prod(len(choice.options) for choice in self.choices)

    def architecture(self, values: Mapping[str, Any]) -> Architecture:
        """`values` checked against the choices, in the space's own order. HwnasError names what is wrong."""
        if not isinstance(values, Mapping):
            raise HwnasError(f"an architecture of {self.name!r} must be values by name of choice, got {values!r}")
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

    def live_codes(self, architectures: Sequence[Mapping[str, Value]]) -> np.ndarray:
        """`encode`, with -1 for every choice that no slot of the lowered network reads: equal codes are equal networks,
        and the bits of a layer that is not there are no facts of the network."""
        codes = self.encode(architectures)
        for row, architecture in zip(codes, architectures, strict=True):
            live = {node.name for node in self.lower(architecture)}
            read = {name for slot in self.slots if slot.name in live for name in slot.depends}
            row[[choice.name not in read for choice in self.choices]] = -1
        return codes

    def decode(self, codes: np.ndarray) -> list[Architecture]:
        """The architectures of option indices (n, choices)."""
        return [
            Architecture({c.name: c.options[int(i)] for c, i in zip(self.choices, row, strict=True)}) for row in codes
        ]

    def lower(self, selection: Selection) -> Network:
        """The network of a selection, without what no output reads.

        Hard: one node a slot. Soft: an option node `<slot>/<i>` for each operator that may stand there, and the mix of
        them under the slot's name. HwnasError where an operator is not given the shapes it takes.
        """
        nodes: list[Node] = []
        # What reading a slot means: the slot itself or, where nothing stands there, what it would read.
        gives = {name: name for name in self.inputs}
        gives[PREVIOUS] = self.inputs[0]
        for slot in self.slots:
            stands = _standing(slot, selection)
            sources = _sources(stands, selection, gives)
            made = lower_slot(stands, selection, sources)
            nodes += made
            gives[slot.name] = gives[PREVIOUS] = made[-1].name if made else sources[0]
        outputs = tuple(gives[name] for name in self.outputs or (PREVIOUS,))
        live = _live(nodes, outputs)
        if not live:
            raise HwnasError(f"space {self.name!r} lowers to no operator at all")
        several = len(outputs) > 1 and outputs != self.outputs
        return Network(_ports(self.inputs, live), tuple(live), outputs, self.outputs if several else ())

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

    def own(values: Mapping[str, Any]) -> dict[str, Any]:
        return {old: values[new] for new, old in names.items()}

    def moved(sources: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name if name in (PREVIOUS, INPUT) else prefix + name for name in sources)

    given = slot.inputs
    return Slot(
        prefix + slot.name, tuple(names), lambda values: slot.build(own(values)),
        (lambda values: moved(given(own(values)))) if callable(given) else moved(given),
        None if slot.relaxed is None else _prefixed(slot.relaxed, prefix),
    )  # fmt: skip


def _standing(slot: Slot, selection: Selection) -> Slot:
    """The slot as this selection has it: relaxed where a choice that it reads is a mix."""
    if not any(isinstance(selection[name], Mix) for name in slot.depends):
        return slot
    if slot.relaxed is None and callable(slot.inputs):
        raise HwnasError(f"slot {slot.name} cannot be relaxed: what it reads depends on a mix")
    stands = slot.relaxed or slot
    lacking = [name for name in stands.depends if name not in selection]
    if lacking:
        raise HwnasError(
            f"slot {slot.name}, relaxed, needs {lacking[0]!r}, which this selection does not give",
            hint="a training rule made for this space gives it",
        )
    return stands


def _sources(slot: Slot, selection: Selection, gives: Mapping[str, str]) -> tuple[str, ...]:
    named = slot.inputs({name: selection[name] for name in slot.depends}) if callable(slot.inputs) else slot.inputs
    for name in named:
        if name not in gives:
            raise unknown(f"input of slot {slot.name}", name, sorted(gives))
    return tuple(gives[name] for name in named)


def _live(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """The nodes that an output reads, directly or through others, in their order."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if node.name in needed:
            kept.append(node)
            needed.update(node.inputs)
    return kept[::-1]


def _ports(names: Sequence[str], nodes: Sequence[Node]) -> dict[str, Port]:
    """What each network input carries, as its first reader takes it; inputs that nothing reads are left out."""
    found: dict[str, Port] = {}
    for node in nodes:
        for source, port in zip(node.inputs, node.operator.inputs, strict=False):
            if source in names:
                found.setdefault(source, port)
    return {name: found[name] for name in names if name in found}


def lower_slot(slot: Slot, selection: Selection, sources: tuple[str, ...] = (INPUT,)) -> list[Node]:
    """The nodes of one slot that reads `sources`: none or one when hard; when soft, a node for every operator that the
    mixed options give, and last the mix of them. An option where nothing stands is the slot's first input itself."""
    values = {name: selection[name] for name in slot.depends}
    mixed = [name for name, value in values.items() if isinstance(value, Mix)]
    if not mixed:
        operator = slot.build(values)
        return [] if operator is None else [Node(slot.name, operator, sources)]
    merged: dict[Operator | None, Any] = {}
    for combination in itertools.product(*(range(len(values[name].options)) for name in mixed)):  # type: ignore[union-attr]
        hard, weight = dict(values), None
        for name, i in zip(mixed, combination, strict=True):
            mix = values[name]
            assert isinstance(mix, Mix)
            hard[name] = mix.options[i]
            weight = mix.weights[i] if weight is None else weight * mix.weights[i]
        if isinstance(weight, int | float) and weight == 0:
            continue
        operator = slot.build(hard)
        merged[operator] = merged[operator] + weight if operator in merged else weight
    return _mixture(slot.name, merged, sources)


def _mixture(name: str, merged: Mapping[Operator | None, Any], sources: tuple[str, ...]) -> list[Node]:
    operators = [operator for operator in merged if operator is not None]
    if not operators:  # every option leaves the place empty: there is nothing to weigh
        return []
    outputs = {operator.output for operator in operators}
    if len(outputs) > 1 or (None in merged and operators[0].inputs[0] != operators[0].output):
        given = sorted({port.shape for port in outputs} | ({operators[0].input_shape} if None in merged else set()))
        raise HwnasError(f"{name}: a mix of outputs {given} cannot be summed", hint="pick widths and resolutions hard")
    names = {operator: f"{name}/{i}" for i, operator in enumerate(operators)}
    nodes = [Node(names[operator], operator, sources, merged[operator]) for operator in operators]
    reads = tuple(sources[0] if operator is None else names[operator] for operator in merged)
    port = operators[0].output
    return [*nodes, Node(name, Operator.of("mix", [port] * len(reads), port), reads, weights=tuple(merged.values()))]
