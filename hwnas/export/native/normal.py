"""Brings an ONNX model into the one form that is read: checked, live nodes only, one opset, every shape inferred.

Checking, conversion and inference run on a skeleton (`skeleton.py`): nothing large is copied, and what a model's own
functions hold never reaches ONNX's C++ code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.model_file import MOST_ELEMENTS, array_of
from hwnas.export.native.operator import operators as native_operators
from hwnas.export.native.operator import qualified
from hwnas.export.native.skeleton import skeleton_of

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

#: every model is converted to this opset of ONNX; onnx 1.20, the oldest that is allowed, knows it
OPSET = 25
#: the oldest opset that is taken: broadcasting was an attribute before it
OLDEST_OPSET = 7
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Given:
    """One input of the model: its element type as numpy names it; `pixels` where a node of its own reads raw uint8."""

    name: str
    shape: tuple[int, ...]
    type: str
    pixels: bool = False


@dataclass(frozen=True)
class NormalModel:
    """What is read. `shapes` is what ONNX infers of each tensor: None for a size that it does not know."""

    nodes: tuple[NodeProto, ...]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[Given, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape]


def normal_form(
    model: ModelProto, operators: Collection[tuple[str, str]], unsupported: Callable[[NodeProto], HwnasError]
) -> NormalModel:
    """The model in normal form. `operators` are the (domain, name) pairs that have a reader.

    `unsupported(node)` makes the error for a live node of another operator; HwnasError for everything that is not a
    valid model with static inputs of floats, 8-bit codes, whole numbers or raw pixels.
    """
    graph = model.graph
    _check_names(graph)
    version = _opset(model)
    given = _ends(graph)
    nodes = _live_nodes(graph, [item.name for item in graph.output])
    for node in nodes:
        if (_domain(node), node.op_type) not in operators:
            raise unsupported(node)
    inputs = tuple(_given(item, nodes) for item in given)
    constants = _constants(graph, nodes)
    skeleton, own = skeleton_of(graph, nodes, constants, given)
    inferred = _converted(skeleton, version)
    shapes = _shapes(inferred.graph)
    _check_sizes(shapes)
    back = tuple(own.get(node.output[0], node) for node in inferred.graph.node)
    small = {item.name: array_of(item) for item in inferred.graph.initializer}
    outputs = tuple(item.name for item in graph.output)
    return NormalModel(back, {**small, **constants}, inputs, outputs, shapes)


def _given(item: ValueInfoProto, nodes: tuple[NodeProto, ...]) -> Given:
    """The input, whose element type must be one that is read, and read by what takes it."""
    from onnx import TensorProto

    shape = input_shape(item)
    kind = item.type.tensor_type.elem_type
    if kind == TensorProto.UINT8:
        readers = [node for node in nodes if item.name in node.input]
        known = native_operators().of_node
        if any("READS_PIXELS" in vars(known[qualified(node)]) for node in readers if qualified(node) in known):
            return Given(item.name, shape, "uint8", pixels=True)
        if not all(_dequantised(node, nodes) for node in readers):
            raise HwnasError(
                f"input {item.name!r} is uint8 and not read by one hwnas::Preprocess",
                nearest=("float32 [1, C, H, W]",),
                hint="raw pixels [1, H, W, C] enter a model through hwnas::Preprocess or hwnas::Normalize alone",
            )
    return Given(item.name, shape, _INPUT_TYPES[kind])


def _dequantised(node: NodeProto, nodes: tuple[NodeProto, ...]) -> bool:
    """Whether codes that the node reads end in a DequantizeLinear, on every way."""
    if node.op_type == "DequantizeLinear":
        return True
    users = [user for user in nodes if set(node.output) & set(user.input)]
    return bool(users) and all(_dequantised(user, nodes) for user in users)


def _check_names(graph: GraphProto) -> None:
    """Refuses names that are no text: protobuf gives them as bytes, and ONNX's C++ code takes none."""
    for node in graph.node:
        if any(isinstance(text, bytes) for text in (node.op_type, node.domain, node.name, *node.input, *node.output)):
            raise HwnasError(f"a name in the model is not UTF-8: {node.op_type!r} {node.name!r}")
    for item in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        if isinstance(item.name, bytes):
            raise HwnasError(f"a name in the model is not UTF-8: {item.name!r}")


def _domain(node: NodeProto) -> str:
    return "" if node.domain == "ai.onnx" else node.domain


def _opset(model: ModelProto) -> int:
    """The version of ONNX's operators that the model imports."""
    from onnx import defs

    imports = [item for item in model.opset_import if item.domain in ("", "ai.onnx")]
    own = [item.version for item in model.opset_import if item.domain == "hwnas"]
    if len(imports) != 1 or any(version != 1 for version in own):
        found = [(item.domain or "ai.onnx", item.version) for item in model.opset_import]
        raise HwnasError(f"the model imports operator sets {found}", nearest=(f"ai.onnx {OPSET}, hwnas 1",))
    version, newest = imports[0].version, defs.onnx_opset_version()
    if not OLDEST_OPSET <= version <= newest:
        raise HwnasError(
            f"the model uses opset {version}, opsets {OLDEST_OPSET} to {newest} are read",
            hint="convert it with onnx.version_converter" if version < OLDEST_OPSET else "install a newer onnx",
        )
    return version


#: TensorProto's FLOAT, UINT8, INT8, INT32 and INT64
_INPUT_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64"}
MOST_ENDS = 64


def _ends(graph: GraphProto) -> tuple[ValueInfoProto, ...]:
    """The inputs that are no constants and that live nodes read."""
    stored = {item.name for item in graph.initializer} | {item.values.name for item in graph.sparse_initializer}
    inputs = tuple(item for item in graph.input if item.name not in stored)
    names = [item.name for item in (*inputs, *graph.output)]
    if not inputs or not graph.output or len(names) > MOST_ENDS:
        raise HwnasError(
            f"the model has {len(inputs)} inputs and {len(graph.output)} outputs", hint="at least one of each"
        )
    twice = {name for name in names if names.count(name) > 1}
    if twice & {item.name for item in inputs} & {item.name for item in graph.output}:
        raise HwnasError("the model computes nothing", hint="its output is its input")
    if twice:
        raise HwnasError(f"{min(twice)!r} is an input or output of the model twice", hint="one name each")
    read = {name for node in graph.node for name in node.input}
    unread = [item.name for item in inputs if item.name not in read]
    if unread and len(inputs) > 1:
        raise HwnasError(f"the input {unread[0]!r} is read by no node", hint="remove it from the model")
    return inputs


def input_shape(item: ValueInfoProto) -> tuple[int, ...]:
    """The sizes of an input, which must be static and, where it has two dimensions or more, of batch 1."""
    tensor = item.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    good = tensor.elem_type in _INPUT_TYPES and 1 <= len(shape) <= 6
    if not good or min(shape) < 1 or (shape[0] != 1 and len(shape) > 1):
        kind = "" if tensor.elem_type == 1 else f" and element type {tensor.elem_type}"
        told = [
            str(d.dim_value) if d.HasField("dim_value") else " ".join(d.dim_param.split())[:40] or "?"
            for d in tensor.shape.dim
        ]
        raise HwnasError(
            f"input {item.name!r} has shape [{', '.join(told)}]{kind}",
            nearest=("float32 [1, ...], 1 to 6 sizes that are numbers", "uint8 [1, H, W, C]"),
            hint="fix the batch to 1 and all sizes to numbers: export without dynamic axes, or "
            "`python -m onnxruntime.tools.make_dynamic_shape_fixed` sets them",
        )
    _check_sizes({item.name: shape})
    return shape


def _check_sizes(shapes: Mapping[str, Shape]) -> None:
    """Refuses empty tensors, and ones too large to hold, before anything of their size is allocated."""
    for name, shape in shapes.items():
        count = 1
        for size in shape:
            count *= 1 if size is None else size
            if count < 1 or count > MOST_ELEMENTS:
                raise HwnasError(f"tensor {name!r} has shape {list(shape)}", hint=f"1 to {MOST_ELEMENTS} elements")


def _live_nodes(graph: GraphProto, outputs: Sequence[str]) -> tuple[NodeProto, ...]:
    """The nodes that the outputs depend on, in the model's order."""
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        if not any(node.output):
            raise HwnasError(f"node {node.name!r} ({node.op_type}) has no output")
        for name in filter(None, node.output):
            if name in makers:
                raise HwnasError(f"two nodes make the tensor {name!r}")
            makers[name] = index
    for output in outputs:
        if output not in makers:
            raise HwnasError(f"output {output!r} is made by no node")
    waiting, live = list(outputs), set[int]()
    while waiting:
        index = makers.get(waiting.pop(), -1)
        if index >= 0 and index not in live:
            live.add(index)
            waiting.extend(filter(None, graph.node[index].input))
    return tuple(graph.node[index] for index in sorted(live))


def _constants(graph: GraphProto, nodes: tuple[NodeProto, ...]) -> dict[str, np.ndarray]:
    """The initializers that live nodes read."""
    used = {name for node in nodes for name in node.input if name}
    made = {name for node in nodes for name in node.output if name}
    known = native_operators().of_node
    # constants that only such operators read may be empty, which says that they are absent
    filled = {
        name
        for node in nodes
        if qualified(node) not in known or "TAKES_EMPTY" not in vars(known[qualified(node)])
        for name in node.input
    }
    found: dict[str, np.ndarray] = {}
    for item in graph.initializer:
        if item.name not in used:
            continue
        if item.name in found or item.name in made:
            raise HwnasError(f"the tensor {item.name!r} is given twice")
        found[item.name] = array_of(item)
        if not found[item.name].size and item.name in filled:
            raise HwnasError(f"tensor {item.name!r} has shape {list(item.dims)}", hint="at least 1 element")
    return found


def _converted(graph: GraphProto, version: int) -> ModelProto:
    """The skeleton as a valid model of OPSET with its shapes inferred."""
    from onnx import IR_VERSION, checker, helper, shape_inference, version_converter

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=IR_VERSION)
    work = "check"
    outputs = [item.type.tensor_type for item in model.graph.output]
    shapeless = [output for output in outputs if not output.HasField("shape")]
    try:
        for output in shapeless:  # the checker wants a shape, of any rank; inference then finds the true one
            output.shape.SetInParent()
        checker.check_model(model)
        for output in shapeless:
            output.ClearField("shape")
        work = "infer the shapes of"
        model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        if version != OPSET:
            work = f"convert to opset {OPSET}"
            model = version_converter.convert_version(model, OPSET)
            model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    # ONNX's C++ code raises a dozen classes of its own, RuntimeError among them: all say that the model is not valid
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise HwnasError(f"onnx cannot {work} the model: {reason}", hint="check it with onnx.checker") from error
    return model


def _shapes(graph: GraphProto) -> dict[str, Shape]:
    found = {}
    for item in (*graph.value_info, *graph.output):
        tensor = item.type.tensor_type
        if tensor.HasField("shape"):
            found[item.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return found
