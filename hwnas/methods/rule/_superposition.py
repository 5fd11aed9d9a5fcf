"""A relaxed network whose weights are mixed, not its outputs: an operator whose options are parts of one runs once.

    W = sum_e p_e pad0(W_e),  p_e = prod_c p_c[e]       e: an option of every entangled choice c of the place
    y = sum_s p_s pad0(o_s(x; W))                       s: an option of every other choice of the place

W_e is the leading part of the shared tensor (the centre of a kernel) and pad0 puts it back among zeros, so W is the
shared tensor times a mask of sums of p. Where nothing stands, o_s(x) is x. An operator reads the first channels it
takes of a wider x, which is the same as zeros in its tensors.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwnas import ops
from hwnas.errors import HwnasError
from hwnas.methods.rule._entangled import families, largest, mixed_by_outputs, padded, width_axis, without_effect
from hwnas.network import Network, Node, Operator, Port, Shape, walk
from hwnas.protocols import Supernet
from hwnas.space import PREVIOUS, Architecture, Choice, SearchSpace, Slot
from hwnas.supernet import Inputs, fitted, leading, result

Weights = Mapping[str, Tensor]  # (options,) by choice


def narrowed(x: Tensor, shape: Shape) -> Tensor:
    """The first channels of (N, *larger) as (N, *shape)."""
    axis = width_axis(shape)
    return x.narrow(axis + 1, 0, shape[axis]) if x.shape[axis + 1] > shape[axis] else x


@dataclass(frozen=True)
class Mask:
    """The sum of weights that covers each element of a tensor. Elements that the same options cover are one cell:
    `cover` (cells, options) says which, `cells` how many along each axis, `of` the cell of an index along an axis."""

    cover: Tensor
    cells: tuple[int, ...]
    of: tuple[tuple[int, Tensor], ...]

    @classmethod
    def of_shapes(cls, full: Shape, shapes: Sequence[Shape]) -> Mask | None:
        """Of a tensor of shape `full` and what each option reads of it; None where every option reads all of it."""
        if all(shape == full for shape in shapes):
            return None
        extents = [sorted({shape[axis] for shape in shapes}) for axis in range(len(full))]
        cells = tuple(itertools.product(*extents))
        cover = [[all(e >= c for e, c in zip(shape, cell, strict=True)) for shape in shapes] for cell in cells]
        of = []
        for axis, held in enumerate(extents):
            if len(held) > 1:
                # The smallest extent that covers an index: marked from the largest down, by the rule that slices.
                marks = torch.zeros((1,) * axis + (full[axis],) + (1,) * (len(full) - 1 - axis), dtype=torch.long)
                for cell, extent in reversed(list(enumerate(held))):
                    part = tuple(extent if a == axis else 1 for a in range(len(full)))
                    leading(marks, part).fill_(cell)
                of.append((axis, marks.flatten()))
        return cls(torch.tensor(cover, dtype=torch.float64), tuple(map(len, extents)), tuple(of))

    def __call__(self, weights: Tensor) -> Tensor:
        """What a tensor is multiplied with: its shape, or 1 along an axis that all options read whole."""
        mask = (self.cover.to(weights) @ weights).reshape(self.cells)
        for axis, cell in self.of:
            mask = mask.index_select(axis, cell.to(mask.device))
        return mask


@dataclass(frozen=True)
class Run:
    """One operator with mixed tensors: `rows` are the options of the place's other choices that it stands for, `masks`
    those of its parameters that only some of the `entangled` choices' options read; `architecture` is one that has the
    operator in this place, `smallest` the smallest operator that is a part of it, with an architecture that is also
    smallest elsewhere."""

    operator: Operator
    rows: tuple[int, ...]
    entangled: tuple[str, ...]
    masks: Mapping[str, Mask]
    architecture: Architecture
    smallest: tuple[Operator, Architecture]

    def tensors(self, net: Supernet, place: str, weights: Weights) -> dict[str, Tensor]:
        """The operator's parameters, each times its mask, by weights (options,)."""
        held = dict(net.tensors(Node(place, self.operator), self.architecture))
        if self.masks:
            mixed = product([weights[name] for name in self.entangled])
            held |= {name: held[name] * mask(mixed) for name, mask in self.masks.items()}
        return held

    def require_entangled(self, net: Supernet, place: str) -> None:
        """HwnasError unless the smallest operator's tensors are views of the largest one's, where `leading` has them,
        whatever is chosen elsewhere: else training one would not train the other."""
        operator, architecture = self.smallest
        large = net.tensors(Node(place, self.operator), self.architecture)
        small = net.tensors(Node(place, operator), architecture)
        for name, tensor in small.items():
            part = leading(large[name], tuple(tensor.shape))
            if tensor.data_ptr() != part.data_ptr() or tensor.stride() != part.stride():
                raise HwnasError(
                    f"{place}: the supernet has tensors of its own for options that are to share {name}",
                    hint="leave train.wrapper out: mixed weights are parts of one tensor",
                )


@dataclass(frozen=True)
class Place:
    """A slot, relaxed: its runs, the `rows` of options under which nothing stands, and what it gives."""

    name: str
    choices: tuple[str, ...]  # those mixed by outputs
    runs: tuple[Run, ...]
    empty: tuple[int, ...]
    port: Port

    def __call__(self, net: Supernet, values: tuple[Tensor, ...], weights: Weights) -> Tensor:
        shares = product([weights[name] for name in self.choices]) if self.choices else None
        total: Any = 0.0
        for run in self.runs:
            given = [narrowed(x, port.shape) for x, port in zip(values, run.operator.inputs, strict=True)]
            y = ops.forward(run.operator, given, run.tensors(net, self.name, weights), training=True)
            y = padded(y, self.port.shape)
            if shares is None:
                return y
            total = total + shares[list(run.rows)].sum() * y
        if shares is not None and self.empty:
            total = total + shares[list(self.empty)].sum() * padded(values[0], self.port.shape)
        return total  # type: ignore[no-any-return]


def product(weights: Sequence[Tensor]) -> Tensor:
    """The outer product of weights (n,), (m,), ..., flat, the last one's options next to each other."""
    total = weights[0]
    for more in weights[1:]:
        total = (total[:, None] * more).flatten()
    return total


class Superposition:
    """The network of a space in which `choices` are mixed; all others are as in the space's largest network.

    HwnasError, before anything trains, where options give what cannot be padded to one, where what a slot reads depends
    on a mix, or where no choice is entangled.
    """

    def __init__(self, space: SearchSpace, choices: Sequence[Choice]) -> None:
        for choice in choices:
            if choice.role in ("precision", "resolution"):
                raise HwnasError(
                    f"{choice.name} cannot be mixed: no option of a {choice.role} is a part of another",
                    hint="name other choices under relax",
                )
        self.space, self.choices = space, tuple(choices)
        self._mixed = {choice.name: choice.options for choice in choices}
        self.places: dict[str, Place] = {}
        self.network = self._lowered()
        if not any(run.masks for place in self.places.values() for run in place.runs):
            raise HwnasError(
                f"no choice of space {space.name!r} is entangled: its options are no parts of one tensor",
                hint="rule.darts mixes outputs",
            )

    def __call__(self, net: Supernet, inputs: Inputs, weights: Weights) -> Tensor:
        """The mixed network's output (N, ...) of inputs (N, ...)."""

        def run(node: Node, values: tuple[Tensor, ...]) -> Tensor:
            """What stands at a node gives (N, ...)."""
            return self.places[node.name](net, values, weights)

        return result(self.network, walk(self.network, run, fitted(self.network, inputs)))  # type: ignore[no-any-return]

    @property
    def runs(self) -> list[Run]:
        """Every operator that one pass runs."""
        return [run for place in self.places.values() for run in place.runs]

    def require_entangled(self, net: Supernet) -> None:
        """HwnasError where this supernet's options are no views of one tensor."""
        for name, place in self.places.items():
            for run in place.runs:
                run.require_entangled(net, name)

    def _lowered(self) -> Network:
        """Every slot's place and its node, less those that no output reads."""
        nodes: list[Node] = []
        ports: dict[str, Port] = {}
        gives = {name: name for name in self.space.inputs} | {PREVIOUS: self.space.inputs[0]}
        base = self.space.largest()
        for slot in self.space.slots:
            stands = self._standing(slot)
            named = stands.inputs if isinstance(stands.inputs, tuple) else stands.inputs(base)
            sources = tuple(gives[name] for name in named)
            place = placed(self.space, stands, self._mixed, [ports.get(source) for source in sources])
            if place is not None:
                self.places[slot.name] = place
                nodes.append(_node(place, sources, ports))
            gives[slot.name] = gives[PREVIOUS] = slot.name if place is not None else sources[0]
        outputs = tuple(gives[name] for name in self.space.outputs or (PREVIOUS,))
        needed = set(outputs)
        for node in reversed(nodes):
            if node.name in needed:
                needed.update(node.inputs)
        nodes = [node for node in nodes if node.name in needed]
        self.places = {node.name: self.places[node.name] for node in nodes}
        return Network({name: port for name, port in ports.items() if name in self.space.inputs}, tuple(nodes), outputs)

    def _standing(self, slot: Slot) -> Slot:
        if not any(name in self._mixed for name in slot.depends):
            return slot
        stands = slot.relaxed or slot
        if callable(stands.inputs) or any(name not in self.space.by_name for name in stands.depends):
            raise HwnasError(
                f"slot {slot.name} of space {self.space.name!r} cannot be mixed: what it reads depends on a mix",
                hint="name other choices under relax, or take the space's own rule",
            )
        return stands


def _node(place: Place, sources: tuple[str, ...], ports: dict[str, Port]) -> Node:
    """The node of a place, whose port is noted: its one operator, or what stands for several in the graph's checks."""
    first = place.runs[0].operator
    for source, port in zip(sources, first.inputs, strict=True):
        ports.setdefault(source, port)
    ports[place.name] = place.port
    given = tuple(ports[source] for source in sources)
    for run in place.runs:
        for source, port, needed in zip(sources, given, run.operator.inputs, strict=True):
            if not all(a >= b for a, b in zip(port.shape, needed.shape, strict=True)):
                raise HwnasError(f"{place.name} reads {needed} where {source} gives {port} at most")
    if len(place.runs) == 1 and not place.empty and given == first.inputs:
        return Node(place.name, first, sources)
    return Node(place.name, Operator.of("mix", list(given), place.port), sources, weights=(1.0,) * len(sources))


def placed(
    space: SearchSpace, slot: Slot, mixed: Mapping[str, tuple[Any, ...]], given: Sequence[Port | None]
) -> Place | None:
    """What stands in a slot; None where nothing does under any option."""
    names = [name for name in slot.depends if name in mixed]
    base = space.largest()
    built = np.empty([len(mixed[name]) for name in names], dtype=object)
    for index in np.ndindex(built.shape):
        built[index] = slot.build({**base, **_values(names, index, mixed)})
    names, built = without_effect(names, built)
    if all(operator is None for operator in built.flat):
        return None
    apart = mixed_by_outputs(space, built)
    outside = [name for i, name in enumerate(names) if i in apart]
    inside = [name for i, name in enumerate(names) if i not in apart]
    rows_of: dict[tuple[Operator | None, ...], list[int]] = {}
    runs: list[Run] = []
    empty: tuple[int, ...] = ()
    found = list(families(built, apart))
    for row, (_, family) in enumerate(found):
        rows_of.setdefault(tuple(family.flat), []).append(row)
    for members, rows in rows_of.items():
        index, family = found[rows[0]]
        if members[0] is None:
            empty = tuple(rows)
        else:
            runs.append(_run(space, family, tuple(rows), inside, _values(outside, index, mixed), mixed))
    ends = [run.operator.output for run in runs] + ([given[0] or runs[0].operator.inputs[0]] if empty else [])
    return Place(slot.name, tuple(outside), tuple(runs), empty, _widest(slot.name, ends))


def _values(names: Sequence[str], index: Sequence[Any], mixed: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    return {name: mixed[name][int(i)] for name, i in zip(names, index, strict=True)}


def _widest(name: str, ports: Sequence[Port]) -> Port:
    """The port with the most channels; HwnasError where they differ in more."""
    axis = width_axis(ports[0].shape)
    rests = {(p.dtype, len(p.shape), *(n for i, n in enumerate(p.shape) if i != axis)) for p in ports}
    if len(rests) > 1:
        shapes = sorted({port.shape for port in ports})
        raise HwnasError(
            f"{name}: outputs of shapes {', '.join(map(str, shapes))} cannot be mixed: more than channels differ",
            hint="name other choices under relax",
        )
    return max(ports, key=lambda port: port.shape[axis])


def _run(
    space: SearchSpace,
    family: np.ndarray,
    rows: tuple[int, ...],
    names: Sequence[str],
    others: Mapping[str, Any],
    mixed: Mapping[str, tuple[Any, ...]],
) -> Run:
    """The run of a family of operators, one for every option of the entangled choices `names`, where the choices that
    are mixed by outputs have the values `others`."""
    place = largest(family)
    operator: Operator = family[place]
    shapes = [ops.parameters(member) for member in family.flat]
    masks = {name: Mask.of_shapes(full, [s[name] for s in shapes]) for name, full in ops.parameters(operator).items()}
    counts = [ops.parameter_count(member) for member in family.flat]
    smallest = tuple(int(i) for i in np.unravel_index(int(np.argmin(counts)), family.shape))
    least: Operator = family[smallest]

    base = space.largest()
    firsts = {name: options[0] for name, options in mixed.items()}  # of choices that decide nothing here, as well

    def having(index: Sequence[int], rest: Mapping[str, Any]) -> Architecture:
        return space.architecture({**base, **rest, **others, **_values(names, index, mixed)})

    return Run(
        operator, rows, tuple(names), {name: mask for name, mask in masks.items() if mask is not None},
        having(place, {}), (least, having(smallest, firsts)),
    )  # fmt: skip
