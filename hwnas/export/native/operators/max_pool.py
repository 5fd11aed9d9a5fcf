"""MaxPool: the largest of a window, float32 and 8-bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.export.native.ir import Step, image
from hwnas.export.native.layout import window_of
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, IntegerFusion, Kind
from hwnas.export.native.quantisation import NOT_QUANTISED, emit_quantised, target_of
from hwnas.export.native.reader import Reader
from hwnas.export.native.sequences import as_image
from hwnas.export.native.windows import FORMS, pool_window

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {"MaxPool": (*FORMS, Form("same", "one scale before and after", "integer"))}
KINDS = {"max_pool_f32": Kind(exact=True), "max_pool_int": Kind(exact=True)}
EXAMPLES = (Example("MaxPool", ((1, "C", "H", "W"),), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),)


def read(reader: Reader, node: NodeProto) -> None:
    """The largest float."""
    node = as_image(reader, node)
    given = reader.image(node, 0)
    attributes, height, width = pool_window(node, given)
    source, value = reader.real(node, 0), image(node.output[0], "f32", height, width, given.channels)
    reader.emit("max_pool_f32", node, (source.name,), value, attributes)
    reader.set_real(node, value, 4)


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """The largest code, where codes mean the same before and after."""
    node = as_image(reader, node)
    source = reader.image(node, 0)
    attributes, height, width = pool_window(node, source)
    target = target_of(reader, node, image("", "u8", height, width, source.channels))
    if target is None:
        return NOT_QUANTISED
    if source.codes != target.value.codes:
        return "its input and its result have other scales"
    emit_quantised(reader, "max_pool_int", node, (source.name,), target, attributes)
    return None


FUSIONS = (IntegerFusion(as_integers),)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """One kernel for every element type."""
    from hwnas.export.native.ir import ELEMENT_TYPES
    from hwnas.kernels import max_pool as kernel

    x, y = step.inputs[0], step.outputs[0]
    dtype = ELEMENT_TYPES[lowering.value(x).kind]
    spec = kernel.MaxPool(lowering.image(x), lowering.image(y), window_of(step), dtype)
    return lowering.call(step, kernel, spec, ())
