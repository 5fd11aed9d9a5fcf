"""What an architecture costs: a quantity per operator, summed or maximised over the network, at any scale.

`OperatorCost` prices one network (hard or soft). `Costing` prices a whole space: one array a slot, indexed by the
options the slot reads, so a hundred thousand architectures cost a few gathers, and the reachable range is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hwnas.errors import HwnasError
from hwnas.network import Network, Operator
from hwnas.paths import digest
from hwnas.space import Architecture, SearchSpace, Slot, Value

MAX_ARRAY = 20_000_000  # entries of one elimination array: 160 MB; beyond it the bounds are refused, not guessed


Factor = tuple[tuple[int, ...], np.ndarray]


@dataclass(frozen=True)
class OperatorCost:
    """`slope * combine(cost of every operator) + intercept`, in `unit`.

    `combine` is "sum" (latency, energy, size) or "max" (peak memory). The affine part is a table's calibration on
    whole networks (docs/measurement.md); it is the identity for everything analytic.
    """

    name: str
    unit: str
    of: Callable[[Operator], float]
    combine: Literal["sum", "max"] = "sum"
    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, network: Network) -> Any:
        """A float for a hard network; for a soft one the expected cost, differentiable in the node probabilities."""
        priced = [node for node in network if not node.is_mix]  # a mix is of training: nothing of it ships
        if self.combine == "max":
            return self.slope * max(self.of(node.operator) for node in priced) + self.intercept
        return self.slope * sum(node.probability * self.of(node.operator) for node in priced) + self.intercept


@dataclass(frozen=True)
class Bounds:
    """The exact range of a cost over a space, with an architecture at either end.

    Options that cost infinity (a block that cannot be measured) are outside of it: `high` is the largest finite cost.
    """

    low: float
    smallest: Architecture
    high: float
    largest: Architecture


class Costing:
    """`cost` over every architecture of `space`, from one dense array a slot (filled once, on construction).

    An architecture with an operator that costs infinitely much (its row failed) costs as much itself, and is outside
    of the bounds. Raises HwnasError where an operator has no cost (a missing table row), before any search starts.
    """

    def __init__(self, space: SearchSpace, cost: OperatorCost) -> None:
        self.space, self.cost = space, cost
        self._position = {choice.name: i for i, choice in enumerate(space.choices)}
        self._factors = [self._tabulate(slot) for slot in space.slots]

    def _tabulate(self, slot: Slot) -> tuple[tuple[int, ...], np.ndarray]:
        options = [self.space.by_name[name].options for name in slot.depends]
        shape = tuple(len(values) for values in options)
        empty = 0.0 if self.cost.combine == "sum" else -math.inf
        array = np.empty(shape, dtype=np.float64)
        for index in np.ndindex(*shape):
            operator = slot.build({n: v[i] for n, v, i in zip(slot.depends, options, index, strict=True)})
            array[index] = empty if operator is None else self.cost.of(operator)
            if math.isnan(array[index]):
                raise HwnasError(f"{self.cost.name} of {operator} is not a number")
        return tuple(self._position[name] for name in slot.depends), array

    def of_codes(self, codes: np.ndarray) -> np.ndarray:
        """Costs float64 (n,) of option indices (n, choices)."""
        columns = np.ascontiguousarray(np.asarray(codes).T)
        join = np.add if self.cost.combine == "sum" else np.maximum
        total: np.ndarray | None = None
        for axes, array in self._factors:
            if axes:
                flat = columns[axes[0]]
                for axis, extent in zip(axes[1:], array.shape[1:], strict=True):
                    flat = flat * extent + columns[axis]
                part = array.ravel().take(flat)
            else:
                part = np.full(columns.shape[1], float(array))
            total = part if total is None else join(total, part, out=total)
        if total is None:
            raise HwnasError(f"space {self.space.name!r} has no slot to cost")
        return self.cost.slope * total + self.cost.intercept

    def __call__(self, architectures: Sequence[Mapping[str, Value]]) -> np.ndarray:
        """Costs float64 (n,) of architectures."""
        return self.of_codes(self.space.encode(architectures))

    @property
    def factors(self) -> list[Factor]:
        """One (positions of the choices it reads, array indexed by their options) a slot."""
        return list(self._factors)

    @property
    def digest(self) -> str:
        """Of every price it can give: of each row that an architecture may use, not only of those seen so far."""
        arrays = [[list(axes), digest(array.tobytes())] for axes, array in self._factors]
        return digest([self.cost.name, self.cost.combine, self.cost.slope, self.cost.intercept, arrays])

    def bounds(self) -> Bounds:
        """The exact smallest and largest cost, by eliminating one choice after another (bucket elimination).

        HwnasError where every architecture contains an operator of infinite cost.
        """
        ends = [self._smallest(), self._largest()]
        if self.cost.slope < 0:
            ends.reverse()
        codes = np.asarray(ends, dtype=np.int64)
        low, high = self.of_codes(codes)
        if not np.isfinite([low, high]).all():
            raise HwnasError(
                f"every architecture of {self.space.name} has a block whose {self.cost.name} could not be measured",
                hint="hwnas measure names the blocks and why; --retry-failed tries them again",
            )
        first, last = self.space.decode(codes)
        return Bounds(float(low), first, float(high), last)

    def _smallest(self) -> list[int]:
        return eliminate(self.space, self._factors, np.add if self.cost.combine == "sum" else np.maximum)

    def _largest(self) -> list[int]:
        """Option indices of the largest finite cost. For a sum it is the smallest of its negative; a maximum is
        attained in one slot, so each slot in turn gives its values while the others only have to be finite."""
        barred = [(axes, np.where(np.isposinf(array), np.inf, 0.0)) for axes, array in self._factors]
        if self.cost.combine == "sum":
            negated = [(axes, np.where(np.isposinf(array), np.inf, -array)) for axes, array in self._factors]
            return eliminate(self.space, negated, np.add)
        found = []
        for i, (axes, array) in enumerate(self._factors):
            # -inf stands for an empty slot, which attains nothing: as costly to the minimum as what is barred
            mine = (axes, np.where(np.isfinite(array), -array, np.inf))
            found.append(eliminate(self.space, [*barred[:i], mine, *barred[i + 1 :]], np.add))
        costs = self.of_codes(np.asarray(found, dtype=np.int64))
        return found[int(np.where(np.isfinite(costs), costs, -np.inf).argmax())]


def eliminate(space: SearchSpace, factors: Sequence[Factor], join: np.ufunc) -> list[int]:
    """Option indices that minimise the factors' combination (np.add or np.maximum): bucket elimination.

    One choice after another, the one whose factors together are smallest first: all factors that read it are joined,
    its best option is noted for every combination of the other choices they read, and the minimum takes their place.
    """
    factors = list(factors)
    order: list[tuple[int, tuple[int, ...], np.ndarray]] = []
    left = {axis for axes, _ in factors for axis in axes}
    while left:
        axis = min(left, key=lambda a: _joined_size(a, factors, space))
        left.remove(axis)
        touching = [factor for factor in factors if axis in factor[0]]
        factors = [factor for factor in factors if axis not in factor[0]]
        axes, array = _joined(touching, space, join)
        where = axes.index(axis)
        rest = axes[:where] + axes[where + 1 :]
        order.append((axis, rest, array.argmin(axis=where)))
        factors.append((rest, array.min(axis=where)))
    picked = [0] * len(space.choices)
    for axis, rest, best in reversed(order):  # the last eliminated depends on nothing: walk back from it
        picked[axis] = int(best[tuple(picked[other] for other in rest)])
    return picked


def _scope(factors: Sequence[Factor]) -> tuple[int, ...]:
    return tuple(sorted({axis for axes, _ in factors for axis in axes}))


def _joined_size(axis: int, factors: Sequence[Factor], space: SearchSpace) -> int:
    scope = _scope([factor for factor in factors if axis in factor[0]])
    return math.prod(len(space.choices[a].options) for a in scope)


def _aligned(factor: Factor, scope: tuple[int, ...]) -> np.ndarray:
    """The factor's array with one axis for every choice in `scope` (length 1 where it does not read that choice)."""
    axes, array = factor
    ordered = np.transpose(array, np.argsort(axes)) if axes else array
    extents = {axis: array.shape[i] for i, axis in enumerate(axes)}
    return ordered.reshape([extents.get(axis, 1) for axis in scope])


def _joined(factors: Sequence[Factor], space: SearchSpace, join: np.ufunc) -> Factor:
    scope = _scope(factors)
    shape = [len(space.choices[axis].options) for axis in scope]
    if math.prod(shape) > MAX_ARRAY:
        raise HwnasError(
            f"space {space.name!r} couples too many choices for an exact bound ({math.prod(shape):.1e} combinations)",
            hint="fix the precision per block or restrict some choices",
        )
    result = np.full(shape, 0.0 if join is np.add else -np.inf)
    for factor in factors:
        join(result, _aligned(factor, scope), out=result)
    return scope, result
