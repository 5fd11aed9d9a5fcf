"""A constant matrix over a vector, a flattened image or rows, read as a convolution: what Gemm and MatMul share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import Value, image, plain
from hwnas.export.native.quantisation import (
    NOT_QUANTISED,
    emit_quantised,
    integer_weights,
    linear_constants,
    target_of,
)
from hwnas.export.native.reader import Reader, refuse

if TYPE_CHECKING:
    from onnx import NodeProto


def read_dense(reader: Reader, node: NodeProto, matrix: np.ndarray, bias: np.ndarray) -> None:
    """x [.., K] times `matrix` [K, O] plus `bias` [O], all float32."""
    attributes, weight = as_conv(reader, node, matrix.T)
    value, shape = _output(reader, node, matrix.shape[1])
    source = reader.real(node, 0) if _is_whole(reader, node) else _rows(reader.plain(node, 0), reader)
    reader.emit("conv_f32", node, (source.name,), value, attributes, {"weight": weight, "bias": bias})
    reader.result(node, reader.seen_as(value, shape) if len(shape) == 4 else value, shape)


def as_integers(reader: Reader, node: NodeProto, transposed: bool) -> str | None:
    """The same as QGemm; `transposed` where the matrix is [O, K]."""
    weight = integer_weights(reader, node, 0 if transposed else 1)
    if isinstance(weight, str):
        return weight
    if weight.integers.ndim != 2:
        return f"its matrix has {weight.integers.ndim} dimensions"
    integers = weight.integers if transposed else weight.integers.T
    attributes, kernel = as_conv(reader, node, integers)
    out = len(integers)
    value, shape = _output(reader, node, out)
    target = target_of(reader, node, value, shape)
    if target is None:
        return NOT_QUANTISED
    constants = linear_constants(reader, node, weight, integers, target, (1, out))
    if isinstance(constants, str):
        return constants
    whole = _is_whole(reader, node)
    source = reader.value(node, 0) if whole else _rows(reader.plain_codes(node, 0), reader)
    emit_quantised(reader, "conv_int", node, (source.name,), target, attributes, {**constants, "weight": kernel})
    return None


def as_conv(reader: Reader, node: NodeProto, matrix: np.ndarray) -> tuple[dict[str, object], np.ndarray]:
    """A matrix [O, K] as a convolution: its kernel is the whole flattened image, or one of K channels for every row."""
    tensor, source = reader.tensor(node, 0), reader.value(node, 0)
    whole = _is_whole(reader, node)
    depth = source.pixels * source.channels if whole else tensor.shape[-1]
    if matrix.ndim != 2 or matrix.shape[1] != depth or len(tensor.shape) < 2:
        raise refuse(
            node, f"a matrix {list(matrix.shape)} over {list(tensor.shape)}", ("[O, K] over [.., K]", "Flatten before")
        )
    kernel = (source.height, source.width) if whole else (1, 1)
    weight = np.ascontiguousarray(matrix).reshape(matrix.shape[0], -1, *kernel)
    attributes: dict[str, object] = {
        "kernel": kernel,
        "strides": (1, 1),
        "pads": (0, 0, 0, 0),
        "dilations": (1, 1),
        "groups": 1,
    }
    return attributes, weight


def _is_whole(reader: Reader, node: NodeProto) -> bool:
    """Whether the input is one vector, or one flattened image."""
    shape = reader.tensor(node, 0).shape
    return len(shape) == 2 and shape[0] == 1


def _rows(value: Value, reader: Reader) -> Value:
    """A plain value [.., K] as rows: four dimensions would be taken for an image."""
    return reader.seen_as(value, (math.prod(value.shape[:-1]), value.shape[-1])) if value.is_image else value


def _output(reader: Reader, node: NodeProto, out: int) -> tuple[Value, tuple[int, ...]]:
    """(a value like the result, the result's shape)."""
    shape = (*reader.tensor(node, 0).shape[:-1], out)
    if _is_whole(reader, node):
        return image(node.output[0], "f32", 1, 1, out), shape
    value = plain(node.output[0], "f32", shape)
    return plain(value.name, "f32", (math.prod(shape[:-1]), out)) if value.is_image else value, shape
