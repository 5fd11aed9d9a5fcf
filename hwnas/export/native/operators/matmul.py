"""MatMul: x [.., K] times a constant matrix [K, N], float32 and 8-bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native import dense
from hwnas.export.native.operator import Constant, Example, Form, IntegerFusion, Kind
from hwnas.export.native.reader import Reader, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {"MatMul": (Form("plain", "[.., K] times a constant matrix [K, N]", "integer"),)}
KINDS: dict[str, Kind] = {}
EXAMPLES = (
    Example("MatMul", ((1, "K"), Constant(("K", "N"))), {}, True),
    Example("MatMul", ((1, "T", "K"), Constant(("K", "N"))), {}, True),
    Example("MatMul", ((1, "H", "T", "K"), Constant(("K", "N"))), {}, True),
)


def read(reader: Reader, node: NodeProto) -> None:
    """MatMul with float weights, or with integer ones whose result nobody quantises."""
    matrix = reader.constant(node, 1)
    if matrix.ndim != 2:
        raise refuse(node, f"a matrix of shape {list(matrix.shape)}", ("[K, N]",))
    dense.read_dense(reader, node, matrix, np.zeros(matrix.shape[1], np.float32))


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QLinearMatMul of a constant matrix."""
    return dense.as_integers(reader, node, transposed=False)


FUSIONS = (IntegerFusion(as_integers),)
