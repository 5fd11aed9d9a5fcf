"""Sub, Div, Min and Max of operands that broadcast as numpy has it: float32 of any rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.fold import divide, folded
from hwnas.export.native.ir import Step, Value, plain
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Constant, Example, Form, Fusion, Kind
from hwnas.export.native.reader import Reader, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

_PAIR = (Form("pair", "two operands that broadcast by numpy's rules, one of them computed"),)
NAMES = {"Div": "div", "Max": "max", "Min": "min", "Sub": "sub"}
FOLDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "Div": divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Sub": np.subtract,
}
_MANY = (*_PAIR, Form("many", "another number of operands, one pair after the other"))
ONNX = {"Div": _PAIR, "Max": _MANY, "Min": _MANY, "Sub": _PAIR}
KINDS = {"elementwise_f32": Kind()}
FUSIONS: tuple[Fusion, ...] = ()
EXAMPLES = (
    Example("Sub", ((1, "T", "D"), (1, "T", 1))),
    Example("Div", ((1, "T", "D"), Constant(("D",), positive=True))),
    Example("Max", ((1, "C", "H", "W"), (1, 1, "H", 1))),
    Example("Min", ((1, "A", 1), (1, "B"))),
    Example("Max", ((1, "T", "D"), Constant(("D",)), (1, 1, "D"))),
    Example("Sub", (Constant(("T", "D")), (1, "T", "D"))),
)


def read(reader: Reader, node: NodeProto) -> None:
    """The operation over dense floats, from left to right; a constant operand keeps its side."""
    if folded(reader, node, FOLDS[node.op_type]):
        return
    if len(node.input) == 1:
        reader.define(node, node.output[0], reader.tensor(node, 0))
        return
    operands: list[Value | np.ndarray] = [
        reader.constant(node, index) if reader.is_constant(name) else reader.plain(node, index)
        for index, name in enumerate(node.input)
    ]
    made = operands[0]
    for index, other in enumerate(operands[1:], 1):
        name = node.output[0] if index == len(operands) - 1 else f"{node.output[0]}:{index}"
        made = combined(reader, node, NAMES[node.op_type], made, other, name)
    if isinstance(made, Value):
        reader.result(node, made)
    else:  # of constants that are stored as codes
        reader.keep(node, made)


def combined(
    reader: Reader, node: NodeProto, operation: str, a: Value | np.ndarray, b: Value | np.ndarray, name: str
) -> Value | np.ndarray:
    """One step of two operands that broadcast; of two constants a constant."""
    shapes = [side.shape or (1,) for side in (a, b)]
    try:
        shape = tuple(map(int, np.broadcast_shapes(*shapes)))
    except ValueError:
        raise refuse(node, f"shapes {[list(shape) for shape in shapes]}", ("shapes that broadcast",)) from None
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        from hwnas.kernels.fp32_elementwise import OPERATIONS

        with np.errstate(all="ignore"):
            return np.asarray(OPERATIONS[operation][0](a, b))
    sides = {"a": a, "b": b}
    names = tuple(side.name for side in sides.values() if isinstance(side, Value))
    constants = {key: side for key, side in sides.items() if isinstance(side, np.ndarray)}
    value = plain(name, "f32", shape)
    attributes: dict[str, object] = {"operation": operation, "a": shapes[0], "b": shapes[1]}
    reader.emit("elementwise_f32", node, names, value, attributes, constants)
    return value


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """A constant `a` comes before the other operand, a constant `b` after it."""
    from hwnas.kernels import fp32_elementwise

    spec = fp32_elementwise.Fp32Elementwise(step.integers("a"), step.integers("b"), step.text("operation"))
    late = 1 if "a" in step.constants else 0
    constants = [constant.astype(np.float32).reshape(-1) for constant in step.constants.values()]
    return lowering.call(step, fp32_elementwise, spec, constants, late=late)
