"""ONNX's own node tests (onnx.backend.test): every case that is read is compiled, run and held to the case's outputs.

The cases give all inputs at run time and have batches of any size. A model that ships has its weights, shapes and axes
as constants and a batch of one, so each case is tried in three ways: as it is, with all inputs but the first constant,
and so with a Reshape from [1, ..] before it.
"""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hwnas.errors import HwnasError
from hwnas.export.native.compile import plan_model
from hwnas.export.native.lower import KernelCall
from hwnas.export.native.program import Program
from hwnas.testing.native import Objects, played_ends

#: models whose kernels are compiled into one object
GROUP = 40
WAYS = ("as it is", "constants", "batch of one")
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Attempt:
    """One case in one way: "equal", "refused", "empty" (what is computed is a constant) or "wrong"."""

    case: str
    way: str
    operators: frozenset[str]
    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class _Given:
    """A case in one way: a model, its inputs, what must come of it and how near."""

    case: str
    way: str
    model: onnx.ModelProto
    inputs: Arrays
    outputs: Arrays
    rtol: float
    atol: float


@functools.cache
def cases() -> dict[str, Any]:
    """Name -> onnx's case, in its order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of casts of infinity and the like, which the cases are about
        from onnx.backend.test.loader import load_model_tests

        return {case.name: case for case in load_model_tests(kind="node")}


def attempts(names: Iterable[str]) -> Iterator[Attempt]:
    """Each case in each way, compiled for this machine."""
    from hwnas.kernels.target import parse_target

    machine = parse_target("host")
    with tempfile.TemporaryDirectory() as folder:
        objects, group = Objects(Path(folder), machine), list[tuple[_Given, Program, dict[str, KernelCall]]]()
        for name in names:
            for given in _ways(name):
                try:
                    program, kernels = plan_model(given.model, machine)
                except HwnasError as error:
                    yield _attempt(given, "refused", str(error))
                    continue
                group.append((given, program, dict(kernels)))
            if len(group) >= GROUP:
                yield from _judged(group, objects)
                group.clear()
        yield from _judged(group, objects)


def _ways(name: str) -> Iterator[_Given]:
    """The case as it is, and as models have it, where its inputs and outputs are tensors."""
    case = cases()[name]
    inputs, outputs = case.data_sets[0]
    plain = all(isinstance(array, np.ndarray | np.generic) for array in (*inputs, *outputs))
    if not plain or len(inputs) != len(case.model.graph.input):
        return
    arrays, wanted = tuple(map(np.asarray, inputs)), tuple(map(np.asarray, outputs))
    near = (float(case.rtol), float(case.atol))
    yield _Given(name, WAYS[0], case.model, arrays, wanted, *near)
    if not arrays:
        return
    held = onnx.ModelProto()
    held.CopyFrom(case.model)
    first = max(range(len(arrays)), key=lambda i: (arrays[i].dtype == np.float32, -i))
    for index, item in enumerate(case.model.graph.input):
        if index != first:
            held.graph.initializer.append(numpy_helper.from_array(arrays[index], item.name))
    del held.graph.input[:]
    held.graph.input.append(case.model.graph.input[first])
    if len(arrays) > 1:
        yield _Given(name, WAYS[1], held, (arrays[first],), wanted, *near)
    if arrays[first].ndim > 1 and len(arrays[first]) != 1:
        yield _Given(name, WAYS[2], _batched(held, arrays[first]), (arrays[first][None],), wanted, *near)


def _batched(model: onnx.ModelProto, array: np.ndarray) -> onnx.ModelProto:
    """The model over [1, *shape] of its input's shape."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    (item,) = made.graph.input
    name, kind = item.name, item.type.tensor_type.elem_type
    del made.graph.input[:]
    made.graph.input.append(helper.make_tensor_value_info("batched", kind, [1, *array.shape]))
    made.graph.initializer.append(numpy_helper.from_array(np.array(array.shape, np.int64), "batched_shape"))
    made.graph.node.insert(0, helper.make_node("Reshape", ["batched", "batched_shape"], [name], name="batched"))
    return made


def _judged(group: list[tuple[_Given, Program, dict[str, KernelCall]]], objects: Objects) -> Iterator[Attempt]:
    objects.add({symbol: call for _, _, kernels in group for symbol, call in kernels.items()})
    for given, program, kernels in group:
        yield _compared(given, played_ends(program, objects, list(kernels), [given.inputs])[0])


def _compared(given: _Given, found: Arrays) -> Attempt:
    for index, (mine, wanted) in enumerate(zip(found, given.outputs, strict=True)):
        if (mine.shape, mine.dtype) != (wanted.shape, wanted.dtype):
            told = f"output {index}: {mine.dtype} {mine.shape}, not {wanted.dtype} {wanted.shape}"
            return _attempt(given, "wrong", told)
        if not np.allclose(mine, wanted, given.rtol, given.atol, equal_nan=True):
            off = np.abs(mine.astype(np.float64) - wanted).max()
            return _attempt(given, "wrong", f"output {index} off by {off:.4g}")
    return _attempt(given, "equal")


def _attempt(given: _Given, verdict: str, reason: str = "") -> Attempt:
    operators = frozenset(node.op_type for node in given.model.graph.node)
    return Attempt(given.case, given.way, operators, verdict, reason)
