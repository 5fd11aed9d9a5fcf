"""Sub, Div, Min and Max of operands that broadcast as numpy has it: float32 of any rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import Step, plain
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Constant, Example, Form, Fusion, Kind, refused
from hwnas.export.native.reader import Reader, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

_PAIR = (Form("pair", "two operands that broadcast by numpy's rules, one of them computed"),)
NAMES = {"Div": "div", "Max": "max", "Min": "min", "Sub": "sub"}
_FEW = (*_PAIR, refused("many", "another number of operands"))
ONNX = {"Div": _PAIR, "Max": _FEW, "Min": _FEW, "Sub": _PAIR}
KINDS = {"elementwise_f32": Kind()}
FUSIONS: tuple[Fusion, ...] = ()
EXAMPLES = (
    Example("Sub", ((1, "T", "D"), (1, "T", 1))),
    Example("Div", ((1, "T", "D"), Constant(("D",), positive=True))),
    Example("Max", ((1, "C", "H", "W"), (1, 1, "H", 1))),
    Example("Min", ((1, "A", 1), (1, "B"))),
    Example("Sub", (Constant(("T", "D")), (1, "T", "D"))),
)


def read(reader: Reader, node: NodeProto) -> None:
    """The operation over dense floats; a constant operand keeps its side."""
    if len(node.input) != 2:
        raise refuse(node, f"{len(node.input)} operands", ("two operands",))
    names, shapes, constants = list[str](), list[tuple[int, ...]](), dict[str, np.ndarray]()
    for index, side in enumerate("ab"):
        if reader.is_constant(node.input[index]):
            constants[side] = reader.constant(node, index)
            shapes.append(constants[side].shape or (1,))
        else:
            source = reader.plain(node, index)
            names.append(source.name)
            shapes.append(source.shape)
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise refuse(node, f"shapes {[list(shape) for shape in shapes]}", ("shapes that broadcast",)) from None
    value = plain(node.output[0], "f32", shape)
    attributes: dict[str, object] = {"operation": NAMES[node.op_type], "a": shapes[0], "b": shapes[1]}
    reader.emit("elementwise_f32", node, tuple(names), value, attributes, constants)
    reader.result(node, value)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """A constant `a` comes before the other operand, a constant `b` after it."""
    from hwnas.kernels import fp32_elementwise

    spec = fp32_elementwise.Fp32Elementwise(step.integers("a"), step.integers("b"), step.text("operation"))
    late = 1 if "a" in step.constants else 0
    constants = [constant.astype(np.float32).reshape(-1) for constant in step.constants.values()]
    return lowering.call(step, fp32_elementwise, spec, constants, late=late)
