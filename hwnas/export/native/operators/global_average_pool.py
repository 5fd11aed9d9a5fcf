"""GlobalAveragePool: the mean of every channel, float32 and 8-bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.export.native.ir import Step, image
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, IntegerFusion, Kind
from hwnas.export.native.quantisation import NOT_QUANTISED, emit_quantised, target_of
from hwnas.export.native.reader import Reader
from hwnas.export.native.sequences import as_image

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "GlobalAveragePool": (
        Form("same", "uint8 to uint8 or int8 to int8", "integer"),
        Form("mixed", "uint8 to int8 or back"),
    )
}
KINDS = {"global_average_f32": Kind(), "global_average_int": Kind(exact=True)}
EXAMPLES = (Example("GlobalAveragePool", ((1, "C", "H", "W"),), {}, True),)


def read(reader: Reader, node: NodeProto) -> None:
    """The float mean."""
    node = as_image(reader, node)
    channels = reader.image(node, 0).channels
    source, value = reader.real(node, 0), image(node.output[0], "f32", 1, 1, channels)
    reader.emit("global_average_f32", node, (source.name,), value)
    reader.set_real(node, value, 4)


def as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QLinearGlobalAveragePool."""
    node = as_image(reader, node)
    source = reader.image(node, 0)
    target = target_of(reader, node, image("", "u8", 1, 1, source.channels))
    if target is None:
        return NOT_QUANTISED
    if target.value.kind != source.kind:
        return "its input and its result are not both uint8 or both int8"
    emit_quantised(reader, "global_average_int", node, (source.name,), target)
    return None


FUSIONS = (IntegerFusion(as_integers),)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """The kernel over floats or over codes."""
    x, y = lowering.image(step.inputs[0]), lowering.image(step.outputs[0])
    if step.kind == "global_average_f32":
        from hwnas.kernels import fp32_pool
        from hwnas.kernels.image import Window

        spec = fp32_pool.Fp32AveragePool(x, y, Window((x.height, x.width)))
        return lowering.call(step, fp32_pool, spec, ())
    from hwnas.kernels import int8_global_pool

    given, made = lowering.value(step.inputs[0]), lowering.value(step.outputs[0])
    pool = int8_global_pool.Int8GlobalPool(x, y, given.zero_point, made.zero_point, made.kind == "i8")
    packed = int8_global_pool.pack(pool, lowering.target, given.scale, made.scale)
    return lowering.call(step, int8_global_pool, pool, packed)
