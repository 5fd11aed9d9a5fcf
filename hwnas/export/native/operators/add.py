"""Add: two activations of one shape, or an activation and a constant, float32 and 8-bit."""

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
from hwnas.export.native.operator import Form, Kind
from hwnas.export.native.reader import Reader

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {"Add": (*FORMS, Form("vector", "an image and [1, C, 1, 1]"))}
KINDS = {"add_f32": Kind(exact=True), "add_int": Kind(exact=True)}
FUSIONS = (pair_as_integers("add_int", broadcasts=False), activation_fusion("add_f32"))
EXAMPLES = examples("Add")


def read(reader: Reader, node: NodeProto) -> None:
    """A float sum."""
    read_pair(reader, node, "add_f32")


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """The float sum, or QLinearAdd."""
    if step.kind == "add_f32":
        return bind_pair(lowering, step, "add")
    from hwnas.kernels import int8_add

    a, b, y = (lowering.image(name) for name in (*step.inputs, *step.outputs))
    spec = int8_add.Int8Add(a, b, y, lowering.value(step.outputs[0]).kind == "i8")
    return lowering.call(step, int8_add, spec, int8_add.pack(spec, lowering.target, *codes_of(lowering, step)))
