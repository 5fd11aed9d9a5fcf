"""Gelu, Erf, Exp, Log, Sqrt, Abs, Reciprocal and Pow of a constant: float32 of any rank, or a table of 256 codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.activations import Float
from hwnas.export.native.ir import Step
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Constant, Example, Form, IntegerFusion, Kind, refused
from hwnas.export.native.quantisation import NOT_QUANTISED, accept, emit_table, target_of
from hwnas.export.native.reader import Reader, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

_ANY = (Form("any", "of any rank; 8-bit codes by a table", "integer"),)
#: ONNX operator -> the kernel's function; Gelu has two
NAMES = {"Abs": "abs", "Erf": "erf", "Exp": "exp", "Log": "log", "Reciprocal": "reciprocal", "Sqrt": "sqrt"}
ONNX = {
    **dict.fromkeys(NAMES, _ANY),
    "Gelu": (Form("any", "both approximations, of any rank; 8-bit codes by a table", "integer"),),
    "Pow": (
        Form("constant", "to one constant exponent", "integer"),
        refused("tensor", "to an exponent that is computed, or that differs between elements"),
    ),
}
KINDS = {"function_f32": Kind()}
_SQUARE = Constant(values=np.array(2, np.float32))
EXAMPLES = (
    Example("Gelu", ((1, "T", "D"),), {}, True),
    Example("Gelu", ((1, "C", "H", "W"),), {"approximate": "tanh"}, True),
    Example("Erf", ((1, "A", "B"),)),
    Example("Exp", ((1, "A", "B"),)),
    Example("Log", ((1, "A", "B"),), positive=True),
    Example("Sqrt", ((1, "A", "B"),), positive=True),
    Example("Reciprocal", ((1, "T", "D"),), positive=True),
    Example("Abs", ((1, "A", "B", "C", "D"),), {}, True),
    Example("Pow", ((1, "T", "D"), _SQUARE), {}, True),
)


def function_of(reader: Reader, node: NodeProto) -> tuple[str, float]:
    """(the kernel's function, its exponent)."""
    if node.op_type == "Gelu":
        return ("gelu_tanh" if attribute(node, "approximate", b"none") == b"tanh" else "gelu"), 1.0
    if node.op_type != "Pow":
        return NAMES[node.op_type], 1.0
    exponent = reader.constants.get(node.input[1])
    if exponent is None or exponent.size != 1 or not np.isfinite(exponent).all():
        raise refuse(node, "an exponent that is not one finite constant", ("Pow to a constant",))
    return "power", float(exponent.reshape(()))


def read(reader: Reader, node: NodeProto) -> None:
    """The function of floats, as they lie."""
    function, exponent = function_of(reader, node)
    emit(reader, node, function, exponent)


def emit(reader: Reader, node: NodeProto, function: str, exponent: float = 1.0) -> None:
    """A step that applies `function` to input 0."""
    source = reader.real(node, 0)
    value = source.like(node.output[0], "f32")
    reader.emit("function_f32", node, (source.name,), value, {"function": function, "exponent": exponent})
    reader.result(node, value, reader.tensor(node, 0).shape)


def as_table(reader: Reader, node: NodeProto) -> str | None:
    """One table of 256 codes: the float32 function, rounded."""
    from hwnas.kernels.fp32_unary import REFERENCES

    source = reader.value(node, 0)
    target = target_of(reader, node, source, reader.tensor(node, 0).shape)
    if target is None:
        return NOT_QUANTISED
    function, exponent = function_of(reader, node)

    def apply(x: Float) -> Float:
        with np.errstate(all="ignore"):  # a logarithm of 0 saturates its code
            return REFERENCES[function](x.astype(np.float64), exponent).astype(np.float32)

    emit_table(reader, node, source, target.value, apply, function, (target.low, target.high))
    accept(reader, node, target)
    return None


FUSIONS = (IntegerFusion(as_table),)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """One kernel for every function."""
    from hwnas.kernels import fp32_unary

    exponent = step.attributes["exponent"]
    assert isinstance(exponent, float)
    x, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    return lowering.call(step, fp32_unary, fp32_unary.Fp32Unary(x, y, step.text("function"), exponent), ())
