"""Which choices are entangled in a place: those whose options are parts of one operator.

An option is a part where the largest operator, given the option's tensors among zeros, gives what the option's own
operator gives. That is asked of the operators, with random tensors, so that a block or a layer kind of a package
outside needs to declare nothing. Operators of other layers or of other tensors (`SearchSpace.sharing`) are never parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hwnas import ops
from hwnas.network import Operator, Port, Shape, elements
from hwnas.space import SearchSpace
from hwnas.supernet import leading

TOLERANCE = 1e-3  # values are near 1: sums in another order differ by 1e-6 of it, other functions by 0.1 and more
SIDE = 4  # rows and columns: what a part leaves out of a kernel is zero, and need not be reached


def width_axis(shape: Shape) -> int:
    """The axis of channels: the first of (C, H, W), the last of rows (T, D) and vectors (C,)."""
    return 0 if len(shape) == 3 else len(shape) - 1


def padded(x: Tensor, shape: Shape) -> Tensor:
    """(N, *smaller) among zeros as (N, *shape): more channels."""
    axis = width_axis(shape)
    lacking = shape[axis] - x.shape[axis + 1]
    return F.pad(x, [0, 0] * (len(shape) - 1 - axis) + [0, lacking]) if lacking else x


def without_effect(names: list[str], built: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Leaves the choices out that change no operator of `built` (n, ...), an axis a choice."""
    for axis in reversed(range(built.ndim)):
        if np.all(built == built.take([0], axis)):
            built = np.moveaxis(built, axis, 0)[0, ...]
            names = names[:axis] + names[axis + 1 :]
    return names, built


def families(built: np.ndarray, apart: set[int]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """The operators (m, ...) of each option of the choices that are mixed by outputs (axes `apart`), with its index,
    the last choice's options next to each other."""
    outside = sorted(apart)
    turned = built.transpose([*outside, *(axis for axis in range(built.ndim) if axis not in apart)])
    for index in np.ndindex(turned.shape[: len(outside)]):
        yield index, turned[(*index, ...)]


def _signature(space: SearchSpace, operator: Operator | None) -> Any:
    """What operators that may be parts of one have alike: all but extents of channels and kernels."""
    if operator is None:
        return None

    def rest(shape: Shape) -> tuple[int, ...]:
        return tuple(extent for i, extent in enumerate(shape) if i != width_axis(shape))

    layers = [
        (
            e.name,
            e.kind,
            e.inputs,
            e.precision,
            e.stride,
            e.activation,
            e.attributes,
            *map(rest, (e.in_shape, e.out_shape)),
        )
        for e in operator.layers
    ]
    return space.sharing(operator), tuple(layers)


def mixed_by_outputs(space: SearchSpace, built: np.ndarray) -> set[int]:
    """The axes of `built` (n, ...), an operator for every option of every choice, whose choice is not entangled."""
    known: dict[Any, int] = {}
    marks = [known.setdefault(_signature(space, operator), len(known)) for operator in built.flat]
    signatures = np.array(marks).reshape(built.shape)
    apart = {axis for axis in range(built.ndim) if not np.all(signatures == signatures.take([0], axis))}
    apart |= {axis for axis in range(built.ndim) if axis not in apart and not _parts_along(built, axis)}
    for _, family in families(built, apart):
        large = family[largest(family)] if family.flat[0] is not None else None
        if large is not None and not all(_within(operator, large) for operator in family.flat):
            return set(range(built.ndim))  # neither is a part of the other: every option by itself
    return apart


def _parts_along(built: np.ndarray, axis: int) -> bool:
    """Whether every option of this choice is a part of its largest, beside the smallest and largest of the others."""
    turned = np.moveaxis(built, axis, -1).reshape(-1, built.shape[axis])
    lines = [line for line in turned if line[0] is not None]
    for line in (lines[0], lines[-1]):
        large = line[largest(line)]
        if not all(one == large or (_within(one, large) and is_part(one, large)) for one in line):
            return False
    return True


def largest(family: np.ndarray) -> tuple[int, ...]:
    """The index of the operator of `family` (n, ...) with the most values in its tensors and at its ends."""

    def size(operator: Operator) -> int:
        ends = [*operator.inputs, operator.output]
        return ops.parameter_count(operator) + sum(elements(port.shape) for port in ends)

    sizes = np.array([size(operator) for operator in family.flat])
    return tuple(int(i) for i in np.unravel_index(int(sizes.argmax()), family.shape))


def _within(small: Operator, large: Operator) -> bool:
    """Whether no tensor of `small` is larger than that of `large`."""
    own, whole = ops.parameters(small), ops.parameters(large)
    pairs = [(own[name], whole.get(name, ())) for name in own]
    pairs += [
        (a.shape, b.shape) for a, b in zip((*small.inputs, small.output), (*large.inputs, large.output), strict=True)
    ]
    return set(own) == set(whole) and all(
        len(a) == len(b) and all(x <= y for x, y in zip(a, b, strict=True)) for a, b in pairs
    )


@lru_cache(maxsize=65536)
def is_part(small: Operator, large: Operator) -> bool:
    """Whether `large` with the tensors of `small` among zeros gives what `small` gives, among zeros."""
    try:
        return _gives_alike(small, large, SIDE)
    except RuntimeError:  # a layer that takes images of its own size only
        return _gives_alike(small, large, max(*small.input_shape, SIDE))


def _gives_alike(small: Operator, large: Operator, side: int) -> bool:
    """`is_part`, seen on four random examples, of images the first `side` rows and columns."""
    generator = torch.Generator().manual_seed(0)

    def _example(port: Port) -> Tensor:
        x = torch.randn((4, *port.shape), generator=generator)  # four: batch norm of two leaves only their signs
        if port.dtype != "float32":
            return (x > 0).to(getattr(torch, port.dtype))
        return x[..., :side, :side] if len(port.shape) == 3 else x

    whole = ops.initial(large, generator)
    whole = {name: value + 0.5 * torch.randn(value.shape, generator=generator) for name, value in whole.items()}
    shapes = ops.parameters(small)
    part = {name: leading(whole[name], shape) for name, shape in shapes.items()}
    zeros = {name: torch.zeros_like(whole[name]) for name in shapes}
    for name, shape in shapes.items():
        leading(zeros[name], shape).copy_(part[name])
    inputs = [_example(port) for port in small.inputs]
    wide = [padded(x, port.shape) for x, port in zip(inputs, large.inputs, strict=True)]
    with torch.no_grad():
        alone = padded(ops.forward(small, inputs, part, training=True), large.output_shape)
        within = ops.forward(large, wide, zeros, training=True)
    return torch.allclose(alone, within, rtol=TOLERANCE, atol=TOLERANCE)
