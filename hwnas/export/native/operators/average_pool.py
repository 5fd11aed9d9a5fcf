"""AveragePool: the mean of a window, float32 and uint8."""

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

ONNX = {"AveragePool": (*FORMS, Form("uint8", "uint8 codes on both sides", "integer"))}
KINDS = {"average_pool_f32": Kind(), "average_pool_int": Kind(exact=True)}
EXAMPLES = (
    Example("AveragePool", ((1, "C", "H", "W"),), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, True),
    Example(
        "AveragePool",
        ((1, "C", "H", "W"),),
        {"kernel_shape": [2, 2], "strides": [2, 2], "count_include_pad": 1, "pads": [0, 0, 1, 1]},
        True,
    ),
)


def read(reader: Reader, node: NodeProto) -> None:
    """The float mean."""
    node = as_image(reader, node)
    given = reader.image(node, 0)
    attributes, height, width = pool_window(node, given)
    source, value = reader.real(node, 0), image(node.output[0], "f32", height, width, given.channels)
    reader.emit("average_pool_f32", node, (source.name,), value, attributes)
    reader.set_real(node, value, 4)


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QLinearAveragePool."""
    node = as_image(reader, node)
    source = reader.image(node, 0)
    attributes, height, width = pool_window(node, source)
    target = target_of(reader, node, image("", "u8", height, width, source.channels))
    if target is None:
        return NOT_QUANTISED
    if not source.kind == target.value.kind == "u8":
        return "its input or its result is int8"
    emit_quantised(reader, "average_pool_int", node, (source.name,), target, attributes)
    return None


FUSIONS = (IntegerFusion(as_integers),)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """The kernel over floats or over codes."""
    x, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    whole = bool(step.integer("count_include_pad"))
    if step.kind == "average_pool_f32":
        from hwnas.kernels import fp32_pool

        return lowering.call(step, fp32_pool, fp32_pool.Fp32AveragePool(x, y, window_of(step), whole), ())
    from hwnas.kernels import int8_average_pool

    given, made = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    pool = int8_average_pool.Int8AveragePool(
        x, y, window_of(step), whole, given.zero_point, made.zero_point, made.kind == "i8"
    )
    packed = int8_average_pool.pack(pool, lowering.target, given.scale, made.scale)
    return lowering.call(step, int8_average_pool, pool, packed)
