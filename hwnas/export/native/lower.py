"""Chooses a kernel for every step: its specification, its packed constants and the pointers it is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.ir import ELEMENT_TYPES, Graph, Step, Value
from hwnas.export.native.layout import buffer_bytes, images
from hwnas.export.native.operator import operators

if TYPE_CHECKING:
    from hwnas.kernels.image import Image
    from hwnas.kernels.target import Target


@dataclass(frozen=True)
class KernelCall:
    """One C call: `symbol(inputs..., constants..., late inputs..., outputs...)`. `build` makes its function."""

    kind: str
    node: str
    symbol: str
    build: Callable[[], Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[np.ndarray, ...]
    macs: int = 0
    #: how many of the inputs come after the constants
    late: int = 0

    @property
    def early_inputs(self) -> tuple[str, ...]:
        return self.inputs[: len(self.inputs) - self.late]

    @property
    def late_inputs(self) -> tuple[str, ...]:
        return self.inputs[len(self.inputs) - self.late :]


@dataclass(frozen=True)
class Candidate:
    """A kernel's tiles to choose from: the symbol of each, how to build it, and the bytes behind each pointer."""

    symbols: tuple[str, ...]
    build: Callable[[int], Any]
    sizes: tuple[int, ...]

    @property
    def key(self) -> str:
        """Names the kernel in a tile table."""
        return self.symbols[0]


@dataclass(frozen=True)
class Lowering:
    """What every binder needs: the graph, the buffers' images, the target and the tile choice."""

    graph: Graph
    images: Mapping[str, Image]
    target: Target
    choose_tile: Callable[[Candidate], int]

    def value(self, name: str) -> Value:
        return self.graph.values[name]

    def image(self, name: str) -> Image:
        return self.images[name]

    def call(
        self,
        step: Step,
        module: ModuleType,
        spec: Any,
        constants: Sequence[np.ndarray],
        late: int = 0,
        reads_bytes: bool = False,
        macs: int = 0,
    ) -> KernelCall:
        """The call of `module`'s kernel for `spec`, with the chosen tile.

        The kernel's pointers are checked against what they will point to: the element type and the number of elements
        of every value and constant. A kernel that `reads_bytes` takes int8 values as bytes. `macs` are the
        multiply-accumulates of one run.
        """
        from hwnas.kernels.builder import kernel_name

        target = self.target
        tiles = tuple(dict.fromkeys(module.tiles(spec, target))) or (None,)
        packed = tuple(np.ascontiguousarray(c) for c in constants)
        early, last = step.inputs[: len(step.inputs) - late], step.inputs[len(step.inputs) - late :]
        sizes = (*map(self.size, early), *(c.nbytes for c in packed), *map(self.size, (*last, *step.outputs)))
        candidate = Candidate(
            tuple(kernel_name(spec, tile) for tile in tiles),
            lambda index: module.build(spec, target, tiles[index]),
            sizes,
        )
        chosen = self.choose_tile(candidate) if len(tiles) > 1 else 0
        chosen = chosen if 0 <= chosen < len(tiles) else 0
        given = [*map(self._memory, early), *((c.dtype.name, c.size) for c in packed)]
        given += map(self._memory, (*last, *step.outputs))
        symbol = candidate.symbols[chosen]
        _check_pointers(step, _pointers(module.build, symbol, spec, target, tiles[chosen]), given, reads_bytes)
        return KernelCall(
            step.kind,
            step.node,
            symbol,
            lambda: candidate.build(chosen),
            step.inputs,
            step.outputs,
            packed,
            int(macs),
            late,
        )

    def size(self, name: str) -> int:
        """Bytes of a value's buffer."""
        return buffer_bytes(self.graph.values[name], self.images[name])

    def _memory(self, name: str) -> tuple[str, int]:
        """(element type, elements) of a value's buffer."""
        return ELEMENT_TYPES[self.graph.values[name].kind], self.images[name].size


#: what the pointers of a kernel point to, by its builder, symbol and target
_POINTERS: dict[tuple[Callable[..., Any], str, Target], tuple[tuple[str, int], ...]] = {}


def _pointers(
    build: Callable[..., Any], symbol: str, spec: Any, target: Target, tile: Any
) -> tuple[tuple[str, int], ...]:
    """The (element type, elements) behind each pointer of a kernel. Building one takes milliseconds, and a search
    plans thousands of nets made of the same few hundred kernels, so each is built for this once."""
    from hwnas.kernels.builder import pointers

    key = (build, symbol, target)
    if key not in _POINTERS:
        _POINTERS[key] = tuple(pointers(build(spec, target, tile)))
    return _POINTERS[key]


def _check_pointers(
    step: Step, wanted: Sequence[tuple[str, int]], given: Sequence[tuple[str, int]], reads_bytes: bool
) -> None:
    """Refuses a kernel that would take a value for one of another type or size: an error of ours, not of the model."""
    if reads_bytes:
        given = [("uint8" if dtype == "int8" else dtype, size) for dtype, size in given]
    if len(wanted) != len(given) or not all(map(_fits, wanted, given)):
        raise HwnasError(
            f"node {step.node!r}: the kernel of {step.kind} takes {list(wanted)}, its memory is {list(given)}",
            hint="this is an error in hwnas: please report it",
        )


def _fits(wanted: tuple[str, int], given: tuple[str, int]) -> bool:
    """Whether a pointer is what it points to; packed bits may be taken in words of another size."""
    if wanted == given:
        return True
    (mine, count), (theirs, held) = wanted, given
    return theirs == "uint32" and mine in ("uint8", "uint16", "uint64") and int(mine[4:]) * count == 32 * held


def lower(
    graph: Graph, target: Target, choose_tile: Callable[[Candidate], int] = lambda _: 0
) -> tuple[tuple[KernelCall, ...], Mapping[str, Image]]:
    """The kernel calls of the graph in running order, and the image of every value's buffer."""
    known = operators()
    lowering = Lowering(graph, images(graph), target, choose_tile)
    return tuple(_bound(known.of_step[step.kind], lowering, step) for step in graph.steps), lowering.images


def _bound(operator: ModuleType, lowering: Lowering, step: Step) -> KernelCall:
    """The operator's call; what a kernel refuses names the node."""
    try:
        found: KernelCall = operator.bind(lowering, step)
        return found
    except HwnasError as error:
        if error.message.startswith("node "):
            raise
        message = f"node {step.node!r} ({step.kind}): {error.message}"
        raise HwnasError(message, nearest=error.nearest, hint=error.hint) from error
