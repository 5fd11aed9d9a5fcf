"""hwnas::Preprocess and hwnas::Normalize: raw uint8 pixels [1, H, W, C] to a float32 image, resized or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.ir import Step, image
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.operator import Example, Form, Fusion, Kind
from hwnas.export.native.reader import Reader, label, refuse
from hwnas.export.native.skeleton import Skeleton

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX: dict[str, tuple[Form, ...]] = {"hwnas::Preprocess": (), "hwnas::Normalize": ()}
KINDS = {"preprocess": Kind()}
FUSIONS: tuple[Fusion, ...] = ()
#: a uint8 input that one of them reads is [1, H, W, C] pixels, no codes
READS_PIXELS = True
#: operator -> how many constants it takes after the pixels
CONSTANTS = {"Preprocess": 6, "Normalize": 2}
TAPS = ("rows_first", "rows_weights", "columns_first", "columns_weights")
EXAMPLES: tuple[Example, ...] = ()  # no runtime knows them but by their functions: tests/native/test_raw_images.py


def read(reader: Reader, node: NodeProto) -> None:
    """One step from the model's input to a float32 NHWC image; where it resizes, with a line of scratch memory."""
    source = reader.value(node, 0)
    if reader.tensor(node, 0).form != "pixels":
        raise refuse(node, "its first input must be the model's own uint8 input")
    count = CONSTANTS[node.op_type]
    constants = {name: reader.constant(node, count - 1 + i) for i, name in enumerate(("mean", "factor"))}
    for name, values in constants.items():
        if values.shape != (source.channels,) or not np.isfinite(values).all():
            raise refuse(node, f"its {name} of shape {list(values.shape)}", (f"[{source.channels}] finite numbers",))
    outputs, (height, width) = [node.output[0]], (source.height, source.width)
    if node.op_type == "Preprocess":
        constants |= {name: reader.constant(node, 1 + i, (np.int64, np.int32)[i % 2]) for i, name in enumerate(TAPS)}
        if any(constants[name].ndim != 1 + i % 2 for i, name in enumerate(TAPS)):
            raise refuse(node, "taps of another rank", ("places [n] and weights [n, taps]",))
        height, width = len(constants["rows_first"]), len(constants["columns_first"])
        line = image(f"{node.output[0]}:line", "i32", 1, 1, source.width * source.channels)
        outputs.append(reader.add_value(line).name)
    value = reader.add_value(image(node.output[0], "f32", height, width, source.channels))
    reader.steps.append(Step("preprocess", label(node), (source.name,), tuple(outputs), {}, constants))
    reader.set_real(node, value, 4)


def stand_in(node: NodeProto, skeleton: Skeleton) -> NodeProto:
    """An Identity of the image [1, C, h, w] that the node makes; HwnasError unless it alone reads the pixels."""
    from onnx import TensorProto, helper

    name = node.input[0] if node.input else ""
    given = skeleton.inputs.pop(name, None)
    if given is None or given.type.tensor_type.elem_type != TensorProto.UINT8:
        raise HwnasError(f"input {name!r} must be uint8 pixels [1, H, W, C]: {node.op_type} reads it")
    shape = [dim.dim_value for dim in given.type.tensor_type.shape.dim]
    if [other for other in skeleton.nodes if name in other.input] != [node] or list(node.input).count(name) != 1:
        raise refuse(node, f"the pixels {name!r} must be its first input, and nothing else may read them")
    if len(node.input) != 1 + CONSTANTS[node.op_type] or len(shape) != 4:
        raise refuse(node, f"it has {len(node.input) - 1} constants", (str(CONSTANTS[node.op_type]),))
    size = shape[1:3]
    if node.op_type == "Preprocess":
        firsts = [skeleton.constants.get(node.input[index]) for index in (1, 3)]
        if any(first is None or first.ndim != 1 for first in firsts):
            raise refuse(node, "the places of its taps must be constants", ("int64 [n]",))
        size = [len(first) for first in firsts if first is not None]
    image_name = skeleton.float_input(name, (1, shape[3], *size))
    return helper.make_node("Identity", [image_name], node.output, node.name)


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """Resize and normalise, or normalise alone."""
    from hwnas.kernels import preprocess as kernel

    constants = step.constants
    rows, columns = (
        (constants[f"{axis}_first"], constants[f"{axis}_weights"]) if f"{axis}_first" in constants else None
        for axis in ("rows", "columns")
    )
    taps = None if rows is None or columns is None else (rows[1].shape[1], columns[1].shape[1])
    spec = kernel.Preprocess(lowering.image(step.inputs[0]), lowering.image(step.outputs[0]), taps)
    packed = kernel.pack(spec, lowering.target, constants["mean"], constants["factor"], rows, columns)
    return lowering.call(step, kernel, spec, packed, macs=spec.macs)
