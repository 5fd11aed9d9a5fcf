"""Reads an ONNX model in the project's contract (fp32, QDQ int8, 1-bit functions, mixed) into native steps.

The model is brought into a normal form first. Every operator has one file (`operators/`), which reads its nodes; a node
between DequantizeLinear and QuantizeLinear is offered to the file's integer fusions before. An operator without a file
is an error that names the node and what comes nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError, nearest_names
from hwnas.export.native.ends import End
from hwnas.export.native.ir import ELEMENT_TYPES, KIND_OF_TYPE, Graph, Step, Value, image, plain
from hwnas.export.native.model_file import array_of, load_model
from hwnas.export.native.normal import NormalModel, normal_form
from hwnas.export.native.operator import IntegerFusion, Operators, operators, qualified
from hwnas.export.native.reader import Reader, Tensor, label, refuse

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["load_model", "read_graph"]


def read_graph(model: ModelProto) -> Graph:
    """The model's steps, one ONNX operator each (fusing comes after).

    HwnasError for everything that is not a valid model of supported operators; it names the node.
    """
    known = operators()
    pairs = {(name.rpartition("::")[0], name.rpartition("::")[2]) for name in known.of_node}
    try:
        normal = normal_form(model, {*pairs, ("", "Constant")}, _unsupported)
        reader = _start(normal)
    except UNFORESEEN as error:  # names that are no text, for one
        raise HwnasError(f"the model cannot be read: {_line(error)}", hint="check it with onnx.checker") from error
    for node in normal.nodes:
        if node.output[0] not in reader.absorbed:
            try:
                _read_node(reader, node, known)
            except UNFORESEEN as error:
                raise refuse(node, f"it cannot be read: {_line(error)}") from error
    return _finish(reader, normal, known)


#: What no check foresaw still is one line, where possible with the node's name: it ends the reading, so that no wrong
#: result comes of it. Checks come first; these are what Python, numpy and protobuf raise for data they cannot take.
UNFORESEEN = (ValueError, TypeError, KeyError, IndexError, OverflowError, ArithmeticError, AssertionError)


def _line(error: Exception) -> str:
    return f"{type(error).__name__} {' '.join(str(error).split())[:200]}"


def _start(normal: NormalModel) -> Reader:
    consumers: dict[str, list[NodeProto]] = {}
    for node in normal.nodes:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    # Constant nodes first: what ends a quantised step is looked up before the nodes in between are read
    nodes = {node.output[0]: _constant(node) for node in normal.nodes if node.op_type == "Constant"}
    reader = Reader({**normal.constants, **nodes}, consumers, frozenset(normal.outputs), normal.shapes)
    for given in normal.inputs:
        kind = KIND_OF_TYPE[given.type]
        if given.pixels:
            _, height, width, channels = given.shape
            value, form = image(given.name, kind, height, width, channels), "pixels"
        else:
            form = {"f32": "real", "u8": "integer", "i8": "integer"}.get(kind, "whole")
            value = plain(given.name, kind, given.shape)
            reader.unread_codes.update({given.name: given.name} if form == "integer" else {})
        reader.add_value(value)
        reader.tensors[given.name] = Tensor(given.name, form, given.shape)
    return reader


def _unsupported(node: NodeProto) -> HwnasError:
    from onnx import defs

    names = sorted(name.rpartition("::")[2] for name in operators().of_node)
    # names that look alike mean something only where the name is a typing error: Resize is no Reshape
    near = () if defs.has(node.op_type) else nearest_names(node.op_type, names)
    domain = node.domain and f"{node.domain}::"
    return HwnasError(
        f"node {label(node)!r}: no kernel covers operator {domain}{node.op_type}",
        nearest=_close_in_meaning(node.op_type) or near,
        hint="supported: " + ", ".join(names) + "; or `hwnas export --fallback` keeps the model for ONNX Runtime",
    )


def _read_node(reader: Reader, node: NodeProto, known: Operators) -> None:
    """Emits the node's steps. Refuses one of which more outputs are used than its file says what they are."""
    if node.op_type != "Constant":
        _emit_node(reader, node, known)
    used = [name for name in node.output[1:] if name in reader.consumers or name in reader.output_names]
    if any(name not in reader.tensors and not reader.is_constant(name) for name in used if name):
        raise refuse(node, "more than its first output is used", ("the first output alone",))


def _emit_node(reader: Reader, node: NodeProto, known: Operators) -> None:
    module = known.of_node[qualified(node)]
    if node.input and reader.is_quantised(node, 0):
        for fusion in module.FUSIONS:
            if isinstance(fusion, IntegerFusion):
                reason = fusion.rewrite(reader, node)
                if reason is None:
                    return
                reader.declined[label(node)] = reason
    module.read(reader, node)


def _constant(node: NodeProto) -> np.ndarray:
    """What a Constant node holds."""
    item = node.attribute[0]
    if item.name == "value":
        return array_of(item.t)
    if item.name in ("value_float", "value_floats"):
        return np.array(item.f if item.name == "value_float" else list(item.floats), np.float32)
    if item.name in ("value_int", "value_ints"):
        return np.array(item.i if item.name == "value_int" else list(item.ints), np.int64)
    raise refuse(node, f"a {item.name}", ("value",))


def _close_in_meaning(op_type: str) -> tuple[str, ...]:
    """What is supported and does the same or nearly the same; empty where nothing does."""
    meaning = {
        "BatchNormalization": ("Conv with the normalisation folded into its weights",),
        "Elu": ("LeakyRelu",),
        "Celu": ("LeakyRelu",),
        "Selu": ("Relu", "LeakyRelu"),
        "ThresholdedRelu": ("Relu",),
        "Mish": ("HardSwish",),
        "Swish": ("HardSwish",),
        "Sum": ("Add",),
        "GlobalMaxPool": ("MaxPool of the whole image",),
        "LpPool": ("AveragePool",),
        "LogSoftmax": ("Softmax",),
        "QLinearConv": ("DequantizeLinear, Conv, QuantizeLinear",),
        "QLinearMatMul": ("DequantizeLinear, MatMul, QuantizeLinear",),
        "ConvInteger": ("DequantizeLinear, Conv, QuantizeLinear",),
        "DynamicQuantizeLinear": ("QuantizeLinear with a constant scale",),
    }
    return meaning.get(op_type, ())


def _finish(reader: Reader, normal: NormalModel, known: Operators) -> Graph:
    taken = {given.name for given in normal.inputs}
    outputs = list[End]()
    for name in normal.outputs:
        end = _output(reader, normal, known, name, taken)
        taken.add(end.value)
        outputs.append(end)
    inputs = [
        End(
            given.name,
            given.name,
            given.shape,
            given.type,
            *_codes(reader.values[given.name], given.pixels),
            below=reader.limits.get(given.name, 0),
        )
        for given in normal.inputs
    ]
    steps, values = _live(reader, {end.value for end in (*inputs, *outputs)})
    return Graph(values, steps, tuple(inputs), tuple(outputs), dict(reader.declined))


def _live(reader: Reader, ends: set[str]) -> tuple[tuple[Step, ...], dict[str, Value]]:
    """The steps that an end depends on, and their values: a move to a layout that nobody asked for is none."""
    read, live = set(ends), list[Step]()
    for step in reversed(reader.steps):
        if read.intersection(step.outputs):
            live.append(step)
            read.update((*step.inputs, *step.outputs))  # what nobody reads may be scratch memory
            read.update(reader.values[name].of for name in step.inputs)
    return tuple(reversed(live)), {name: value for name, value in reader.values.items() if name in read}


def _codes(value: Value, pixels: bool = False) -> tuple[float | None, int | None]:
    """(scale, zero point) of 8-bit codes."""
    return (value.scale, value.zero_point) if value.kind in ("u8", "i8") and not pixels else (None, None)


def _output(reader: Reader, normal: NormalModel, known: Operators, name: str, taken: set[str]) -> End:
    """One output of the model, in the caller's memory: dense, in ONNX's order, and nobody else's."""
    tensor = reader.tensors.get(name)
    if tensor is None:
        raise HwnasError(f"output {name!r} is a constant", hint="the model must compute it from its input")
    value = reader.values[tensor.value]
    if value.name in normal_names(normal) and len(normal.outputs) == len(normal.inputs) == 1:
        raise HwnasError("the model computes nothing", hint="its output is its input")
    # the caller's memory has neither halo nor the order of an image inside the model
    inside = value.layout == "nhwc" and (
        value.pixels > 1 or any(value.name == s.inputs[0] and any(known.needs(s, value).halo) for s in reader.steps)
    )
    if tensor.form == "dequantised" or inside or value.of or value.name in taken:
        kind = "f32" if tensor.form == "dequantised" else value.kind
        how = "dequantize" if tensor.form == "dequantised" else "to_nchw" if kind == "f32" and inside else "to_plain"
        final = value.like(f"{name}:final", kind, *(() if kind == "f32" else (value.scale, value.zero_point)))
        if how == "to_plain" or value.layout == "plain" or value.pixels > 1:
            final = plain(final.name, kind, value.shape, final.scale, final.zero_point)
        node = next(n for n in normal.nodes if name in n.output)
        step = abs(value.scale) if how == "dequantize" else 0.0
        reader.emit(how, node, (value.name,), final)
        value = final
    else:
        makers = [s for s in reader.steps if value.name in s.outputs]
        step = abs(reader.values[makers[-1].inputs[0]].scale) if makers and makers[-1].kind == "dequantize" else 0.0
    if tensor.form == "integer":
        step = 1.0
    return End(name, value.name, tensor.shape, ELEMENT_TYPES[value.kind], *_codes(value), step=step)


def normal_names(normal: NormalModel) -> set[str]:
    """The names of the model's inputs."""
    return {given.name for given in normal.inputs}
