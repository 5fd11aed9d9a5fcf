"""Mul: two activations of one shape, a vector a channel over an image, or a constant, float32 and 8-bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.export.native.elementwise import (
    FORMS,
    activation_fusion,
    bind_pair,
    codes_of,
    examples,
    pair_as_integers,
    read_pair,
)
from hwnas.export.native.ir import Step
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, Kind
from hwnas.export.native.reader import Reader

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {"Mul": (*FORMS, Form("vector", "an image and [1, C, 1, 1]", "integer"))}
KINDS = {"mul_f32": Kind(), "mul_int": Kind(exact=True)}
FUSIONS = (pair_as_integers("mul_int", broadcasts=True), activation_fusion("mul_f32"))
EXAMPLES = (*examples("Mul"), Example("Mul", ((1, "C", "H", "W"), (1, "C", 1, 1)), {}, True))


def read(reader: Reader, node: NodeProto) -> None:
    """A float product."""
    read_pair(reader, node, "mul_f32")


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """The float product, or QLinearMul."""
    if step.kind == "mul_f32":
        return bind_pair(lowering, step, "mul")
    from hwnas.kernels import int8_mul

    scales, zeros = codes_of(lowering, step)
    a, b, y = (lowering.image(name) for name in (*step.inputs, *step.outputs))
    spec = int8_mul.Int8Mul(a, b, y, *zeros, lowering.value(step.outputs[0]).kind == "i8")
    return lowering.call(step, int8_mul, spec, int8_mul.pack(spec, lowering.target, scales))
