"""AveragePool: the mean of a window, float32 and uint8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.export.native.ir import Step, Value
from hwnas.export.native.layout import window_of
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, Kind
from hwnas.export.native.reader import Reader
from hwnas.export.native.windows import FORMS, pool_as_integers, read_pool

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
    read_pool(reader, node, "average_pool_f32")


def _refusal(source: Value, result: Value) -> str | None:
    """QLinearAveragePool is of uint8."""
    return "its input or its result is int8" if not source.kind == result.kind == "u8" else None


FUSIONS = (pool_as_integers("average_pool_int", _refusal),)


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
