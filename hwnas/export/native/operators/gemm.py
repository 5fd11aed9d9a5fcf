"""Gemm: x [M, K] times a constant matrix, with alpha, beta and a bias, float32 and 8-bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native import dense
from hwnas.export.native.operator import Constant, Example, Form, IntegerFusion, Kind, refused
from hwnas.export.native.quantisation import bias_of
from hwnas.export.native.reader import Reader, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "Gemm": (
        Form("plain", "a constant matrix, transB, any bias that broadcasts to [1, N]", "integer"),
        Form("scaled", "alpha and beta"),
        refused("transA", "transA=1"),
    )
}
KINDS: dict[str, Kind] = {}
EXAMPLES = (
    Example("Gemm", ((1, "K"), Constant(("O", "K")), Constant(("O",))), {"transB": 1}, True),
    Example("Gemm", ((1, "K"), Constant(("K", "O")), Constant((1, "O"))), {"alpha": 0.5, "beta": 2.0}),
)


def read(reader: Reader, node: NodeProto) -> None:
    """Gemm with float weights, or with integer ones whose result nobody quantises."""
    matrix = reader.constant(node, 1)
    if matrix.ndim != 2:
        raise refuse(node, f"a matrix of shape {list(matrix.shape)}", ("[K, N]",))
    if attribute(node, "transA", 0):
        raise refuse(node, "transA=1", ("transA=0",))
    matrix = matrix * np.float32(attribute(node, "alpha", 1.0))
    matrix = matrix.T if attribute(node, "transB", 0) else matrix
    out = matrix.shape[1]
    given = reader.optional_constant(node, 2)
    bias = np.zeros(out, np.float32) if given is None else bias_of(node, given, (1, out))
    dense.read_dense(reader, node, matrix, bias * np.float32(attribute(node, "beta", 1.0)))


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QGemm."""
    if (attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0), attribute(node, "transA", 0)) != (1.0, 1.0, 0):
        return "it has an alpha, a beta or transA"
    return dense.as_integers(reader, node, bool(attribute(node, "transB", 0)))


FUSIONS = (IntegerFusion(as_integers),)
