"""hwnas::Preprocess and hwnas::Normalize: raw pixels as model-local ONNX functions over standard operators.

The resize is two products with constant matrices of 22-bit whole numbers, in doubles: sums of 8-bit pixels stay below
2^53, so every runtime gets the same exact number however it adds. The matrices are stored as their few taps a row; the
body scatters them into place, which runtimes do once, when they load the model.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from hwnas.ops.numeric.resample import ONE

DOMAIN = "hwnas"
OPSET = 21
TAPS = ("rows_first", "rows_weights", "columns_first", "columns_weights")


def preprocess_function() -> onnx.FunctionProto:
    """Preprocess(x uint8 (N, height, width, C), taps of rows and columns, mean (C,), factor (C,)) -> (N, C, h, w).

    `rows_first` int64 (h,) and `rows_weights` int32 (h, taps): result row i is the sum over t of weights[i, t] / 2^22 *
    x[first[i] + t], columns alike; the sum is rounded to 22 fractional bits, then (sum - mean) * factor.
    """
    node = helper.make_node
    nodes = [
        *_constants(),
        *_matrix("rows", "height"),
        *_matrix("columns", "width"),
        node("Transpose", ["columns_matrix"], ["across"], perm=[1, 0]),
        # rows first, on pixels as they lie: the transpose to planes then moves the shorter image only
        node("Cast", ["x"], ["doubles"], to=TensorProto.DOUBLE),
        node("Reshape", ["doubles", "lines"], ["image_lines"]),
        node("MatMul", ["rows_matrix", "image_lines"], ["shorter_lines"]),
        node("Concat", ["kept", "columns_length", "rest"], ["shorter_shape"], axis=0),
        node("Reshape", ["shorter_lines", "shorter_shape"], ["shorter"]),
        node("Transpose", ["shorter"], ["planes"], perm=[0, 3, 1, 2]),
        node("MatMul", ["planes", "across"], ["sums"]),
        node("Mul", ["sums", "unit_double"], ["scaled"]),
        node("Add", ["scaled", "half"], ["raised"]),
        node("Floor", ["raised"], ["rounded"]),
        node("Cast", ["rounded"], ["codes"], to=TensorProto.FLOAT),
        node("Mul", ["codes", "unit"], ["real"]),
        *_normalisation(),
    ]
    return _function("Preprocess", ("x", *TAPS, "mean", "factor"), nodes, ("height", "width"))


def normalize_function() -> onnx.FunctionProto:
    """Normalize(x uint8 (N, H, W, C), mean (C,), factor (C,)) -> (N, C, H, W): (x - mean) * factor."""
    node = helper.make_node
    nodes = [
        _constant("plane", [1, 2], np.int64),
        node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2]),
        node("Cast", ["planes"], ["real"], to=TensorProto.FLOAT),
        *_normalisation(),
    ]
    return _function("Normalize", ("x", "mean", "factor"), nodes, ())


def _function(
    name: str, inputs: tuple[str, ...], nodes: list[onnx.NodeProto], attributes: tuple[str, ...]
) -> onnx.FunctionProto:
    opset = helper.make_opsetid("", OPSET)
    return helper.make_function(DOMAIN, name, list(inputs), ["y"], nodes, [opset], attributes=list(attributes))


def _constant(name: str, value: object, kind: type) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value, dtype=kind), name))


def _constants() -> list[onnx.NodeProto]:
    return [
        _constant("plane", [1, 2], np.int64),
        _constant("first_axis", [0], np.int64),
        _constant("last_axis", [1], np.int64),
        _constant("lines", [0, 0, -1], np.int64),
        _constant("kept", [0, 0], np.int64),
        _constant("rest", [-1], np.int64),
        _constant("zero", 0, np.int64),
        _constant("one", 1, np.int64),
        _constant("unit_double", 1 / ONE, np.float64),
        _constant("half", 0.5, np.float64),
        _constant("unit", 1 / ONE, np.float32),
    ]


def _matrix(axis: str, size: str) -> list[onnx.NodeProto]:
    """`<axis>_matrix`, double (results, size), from the taps: all constants, folded when the model is loaded."""
    node = helper.make_node
    extent = node("Constant", [], [f"{axis}_size"])
    reference = AttributeProto()
    reference.name, reference.ref_attr_name, reference.type = "value_int", size, AttributeProto.INT
    extent.attribute.append(reference)
    empty = numpy_helper.from_array(np.zeros(1), "empty")
    return [
        extent,
        node("Shape", [f"{axis}_weights"], [f"{axis}_count"], start=0, end=1),
        node("Unsqueeze", [f"{axis}_size", "first_axis"], [f"{axis}_length"]),
        node("Concat", [f"{axis}_count", f"{axis}_length"], [f"{axis}_shape"], axis=0),
        node("ConstantOfShape", [f"{axis}_shape"], [f"{axis}_empty"], value=empty),
        node("Shape", [f"{axis}_weights"], [f"{axis}_taps_vector"], start=1, end=2),
        node("Squeeze", [f"{axis}_taps_vector", "first_axis"], [f"{axis}_taps"]),
        node("Range", ["zero", f"{axis}_taps", "one"], [f"{axis}_steps"]),
        node("Unsqueeze", [f"{axis}_first", "last_axis"], [f"{axis}_start"]),
        node("Add", [f"{axis}_start", f"{axis}_steps"], [f"{axis}_places"]),
        node("Cast", [f"{axis}_weights"], [f"{axis}_values"], to=TensorProto.DOUBLE),
        node("ScatterElements", [f"{axis}_empty", f"{axis}_places", f"{axis}_values"], [f"{axis}_matrix"], axis=1),
    ]


def _normalisation() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Unsqueeze", ["mean", "plane"], ["offset"]),
        node("Unsqueeze", ["factor", "plane"], ["scale"]),
        node("Sub", ["real", "offset"], ["centred"]),
        node("Mul", ["centred", "scale"], ["y"]),
    ]
