"""MatMul: x [.., K] times a constant matrix [K, N], or two activations, float32 and 8-bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native import dense
from hwnas.export.native.ir import Step
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Constant, Example, Form, IntegerFusion, Kind
from hwnas.export.native.product import bind_product, product_as_integers, read_product
from hwnas.export.native.reader import Reader

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "MatMul": (Form("plain", "[.., K] times a constant matrix [K, N], or any two whose batches broadcast", "integer"),)
}
KINDS = {"matmul_f32": Kind(), "matmul_int": Kind(exact=True)}
EXAMPLES = (
    Example("MatMul", ((1, "K"), Constant(("K", "N"))), {}, True),
    Example("MatMul", ((1, "T", "K"), Constant(("K", "N"))), {}, True),
    Example("MatMul", ((1, "H", "T", "K"), Constant(("K", "N"))), {}, True),
    Example("MatMul", ((1, "H", "T", "K"), (1, "H", "K", "T")), {}, True),
    Example("MatMul", ((1, "H", "T", "K"), (1, 1, "K", "N")), {}, True),
    Example("MatMul", (Constant(("M", "T")), (1, "T", "K"))),
    Example("MatMul", ((1, "H", "T", "K"), Constant(("H", "K", "N")))),
)


def _is_dense(reader: Reader, node: NodeProto) -> bool:
    """Whether the second operand is one constant matrix: a convolution's weight."""
    shape = reader.constant(node, 1).shape if reader.is_constant(node.input[1]) else ()
    return len(shape) == 2 and not reader.is_constant(node.input[0])


def read(reader: Reader, node: NodeProto) -> None:
    """MatMul of floats, or of integers whose result nobody quantises."""
    if not _is_dense(reader, node):
        read_product(reader, node)
        return
    matrix = reader.constant(node, 1)
    dense.read_dense(reader, node, matrix, np.zeros(matrix.shape[1], np.float32))


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QLinearMatMul."""
    if _is_dense(reader, node):
        return dense.as_integers(reader, node, transposed=False)
    return product_as_integers(reader, node)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """The product of two activations; a constant matrix became a convolution."""
    return bind_product(lowering, step)


FUSIONS = (IntegerFusion(as_integers),)
