"""Arithmetic of constants alone, such as of sizes: computed while reading, in the constants' own type."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.reader import Reader, refuse

if TYPE_CHECKING:
    from onnx import NodeProto


def folded(reader: Reader, node: NodeProto, operation: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> bool:
    """Whether every input is a constant; the node's output then is one too, from left to right."""
    if not all(name in reader.constants for name in node.input):
        return False
    arrays = [reader.constants[name] for name in node.input]
    if len({array.dtype for array in arrays}) != 1:
        raise refuse(node, f"constants of {', '.join(array.dtype.name for array in arrays)}", ("one type",))
    try:
        with np.errstate(all="ignore"):
            result = reduce(operation, arrays)
    except ValueError:
        shapes = f"constants of shapes {[list(array.shape) for array in arrays]}"
        raise refuse(node, shapes, ("shapes that broadcast, no division by 0",)) from None
    reader.keep(node, np.asarray(result, arrays[0].dtype))
    return True


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """ONNX's Div: of whole numbers what C gives, rounded towards 0."""
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    if not b.all():
        raise ValueError("a division by 0")
    quotient = np.abs(a) // np.abs(b)
    return np.asarray(np.where((a < 0) == (b < 0), quotient, -quotient))
