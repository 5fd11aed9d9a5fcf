"""Spoiling models and checkpoints where it hurts: shapes, types, edges and names inside, not only bytes."""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from collections.abc import Callable
from typing import Any

import onnx
import torch
from hostile_mutations import CANARY, spoil_bytes  # type: ignore[import-not-found]  # the file beside this one
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

EXTENTS = (-1, 0, 1, 2, 3, 7, 2**16, 2**31, 2**62, -(2**63))
NAMES = ("", "x", "\0", "é", "../canary/secret.bin", "a" * 5000)
OPERATORS = (
    "Conv", "Add", "Mul", "Relu", "Clip", "Softmax", "Reshape", "Flatten", "Concat", "MaxPool", "AveragePool",
    "GlobalAveragePool", "Gemm", "MatMul", "QuantizeLinear", "DequantizeLinear", "PRelu", "BinaryConv", "Identity",
    "Loop", "Squeeze", "Dropout", "Transpose", "Constant", "HardSwish", "Sigmoid", "If", "Scan", "nonsense",
)  # fmt: skip
ATTRIBUTES = (
    "kernel_shape", "strides", "pads", "dilations", "group", "axis", "alpha", "auto_pad", "to", "transB", "ceil_mode",
    "perm", "min", "in_channels", "value", "",
)  # fmt: skip
LOCATIONS = (
    f"{CANARY}/secret.bin", "{absolute}/secret.bin", "link", "link/secret.bin", "linked.bin", "missing.bin",
    "/dev/zero", "/proc/self/environ", "", ".", "\0",
)  # fmt: skip

Edit = Callable[[random.Random, ModelProto, str], None]


def spoil_onnx(rng: random.Random, data: bytes, canary: str) -> bytes:
    """A model with one to four edits; a quarter are edits of its bytes. `canary` is the canary folder's full path."""
    if rng.random() < 0.25:
        return bytes(spoil_bytes(rng, data))
    model = onnx.load_from_string(data)
    for _ in range(rng.randint(1, 4)):
        rng.choice(EDITS)(rng, model, canary)
    return model.SerializeToString()


def _tensor(rng: random.Random, graph: GraphProto) -> TensorProto:
    held = [a.t for node in graph.node for a in node.attribute if a.type == AttributeProto.TENSOR]
    listed = [*graph.initializer, *held]
    return rng.choice(listed) if listed else graph.initializer.add()


def _listed(rng: random.Random, model: ModelProto) -> Any:
    graph = model.graph
    return rng.choice((graph.initializer, graph.node, graph.input, graph.output, model.opset_import, model.functions))


def _node(rng: random.Random, graph: GraphProto) -> NodeProto:
    return rng.choice(graph.node) if graph.node else graph.node.add()


def _names(graph: GraphProto) -> list[str]:
    made = [name for node in graph.node for name in (*node.input, *node.output)]
    return [*made, *(t.name for t in graph.initializer), *(v.name for v in graph.input), *NAMES]


def _shape_of_a_constant(rng: random.Random, model: ModelProto, canary: str) -> None:
    dims = _tensor(rng, model.graph).dims
    if dims and rng.random() < 0.8:
        dims[rng.randrange(len(dims))] = rng.choice(EXTENTS)
    else:
        dims.extend([rng.choice(EXTENTS)] * rng.choice((1, 9)))


def _type_of_a_constant(rng: random.Random, model: ModelProto, canary: str) -> None:
    _tensor(rng, model.graph).data_type = rng.choice((0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 16, 21, 22, 99))


def _data_of_a_constant(rng: random.Random, model: ModelProto, canary: str) -> None:
    tensor = _tensor(rng, model.graph)
    if rng.random() < 0.5:
        tensor.raw_data = tensor.raw_data[: rng.randint(0, len(tensor.raw_data))]
    elif rng.random() < 0.5:
        tensor.raw_data = rng.randbytes(len(tensor.raw_data))
    else:
        tensor.float_data.extend([float("nan"), float("inf"), 1e38])


def _external(rng: random.Random, model: ModelProto, canary: str) -> None:
    tensor = _tensor(rng, model.graph)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    pairs = {"location": rng.choice(LOCATIONS).format(absolute=canary), "offset": "0", "length": "16"}
    if rng.random() < 0.3:
        pairs[rng.choice(("offset", "length"))] = rng.choice(("-1", "x", "9" * 400, ""))
    for key, value in pairs.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _shape_of_a_value(rng: random.Random, model: ModelProto, canary: str) -> None:
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    value = rng.choice(values) if values else graph.input.add()
    shape = value.type.tensor_type.shape
    if not shape.dim or rng.random() < 0.2:
        shape.dim.add()
    dim = rng.choice(shape.dim)
    if rng.random() < 0.6:
        dim.dim_value = rng.choice(EXTENTS)
    else:
        dim.dim_param = rng.choice(("N", "", "\0"))


def _type_of_a_value(rng: random.Random, model: ModelProto, canary: str) -> None:
    values = [*model.graph.input, *model.graph.output] or [model.graph.input.add()]
    value = rng.choice(values)
    if rng.random() < 0.3:
        value.ClearField("type")
    elif rng.random() < 0.2:
        value.type.sequence_type.elem_type.tensor_type.elem_type = 1
    else:
        value.type.tensor_type.elem_type = rng.choice((0, 1, 2, 3, 7, 9, 10, 16, 99))


def _drop(rng: random.Random, model: ModelProto, canary: str) -> None:
    listed = _listed(rng, model)
    if listed:
        del listed[rng.randrange(len(listed))]


def _copy(rng: random.Random, model: ModelProto, canary: str) -> None:
    listed = _listed(rng, model)
    if listed:
        listed.add().CopyFrom(rng.choice(listed))


def _edge(rng: random.Random, model: ModelProto, canary: str) -> None:
    """Another name at an end of a node: cycles, dangling ends, a constant where a value was."""
    node = _node(rng, model.graph)
    ends = rng.choice((node.input, node.output))
    name = rng.choice(_names(model.graph))
    if ends and rng.random() < 0.8:
        ends[rng.randrange(len(ends))] = name
    elif ends and rng.random() < 0.5:
        del ends[rng.randrange(len(ends))]
    else:
        ends.append(name)


def _order(rng: random.Random, model: ModelProto, canary: str) -> None:
    nodes = list(model.graph.node)
    rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _operator(rng: random.Random, model: ModelProto, canary: str) -> None:
    node = _node(rng, model.graph)
    if rng.random() < 0.8:
        node.op_type = rng.choice(OPERATORS)
    else:
        node.domain = rng.choice(("", "hwnas", "ai.onnx.ml", "\0", "com.microsoft"))


def _attribute(rng: random.Random, model: ModelProto, canary: str) -> None:
    node = _node(rng, model.graph)
    if not node.attribute or rng.random() < 0.2:
        name = rng.choice(ATTRIBUTES)
        value: Any = rng.choice((0, -1, 2**40, 1.5, "SAME_UPPER", [], [1], [0, 0], [-1, 2**33], [1] * 9, float("nan")))
        kind = AttributeProto.INTS if value == [] else None
        node.attribute.append(helper.make_attribute(name, value, attr_type=kind))
        return
    attribute = rng.choice(node.attribute)
    if attribute.ints and rng.random() < 0.7:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(EXTENTS)
    elif rng.random() < 0.4:
        attribute.i = rng.choice(EXTENTS)
    elif rng.random() < 0.5:
        attribute.type = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 13))
    else:
        node.attribute.remove(attribute)


def _versions(rng: random.Random, model: ModelProto, canary: str) -> None:
    if model.opset_import and rng.random() < 0.7:
        rng.choice(model.opset_import).version = rng.choice((-1, 0, 1, 5, 6, 7, 10, 12, 13, 17, 22, 26, 999, 2**62))
    elif rng.random() < 0.5:
        model.ir_version = rng.choice((0, 1, 3, 99, 2**62))
    else:
        model.opset_import.append(helper.make_opsetid(rng.choice(("", "hwnas", "x")), 1))


def _function(rng: random.Random, model: ModelProto, canary: str) -> None:
    """A function that calls itself, or whose body has lost a node."""
    if model.functions and rng.random() < 0.6:
        body = rng.choice(model.functions)
        if body.node and rng.random() < 0.5:
            del body.node[rng.randrange(len(body.node))]
        else:
            body.node.append(helper.make_node(body.name, list(body.input), list(body.output), domain=body.domain))
        return
    call = helper.make_node("Again", ["a"], ["b"], domain="x")
    model.functions.append(helper.make_function("x", "Again", ["a"], ["b"], [call], [helper.make_opsetid("", 21)]))
    node = _node(rng, model.graph)
    node.op_type, node.domain = "Again", "x"


def _subgraph(rng: random.Random, model: ModelProto, canary: str) -> None:
    """Graphs inside graphs: protobuf itself takes 24 at most."""
    leaf = inner = helper.make_graph([helper.make_node("Identity", ["c"], ["y"])], "g", [], [])
    for _ in range(rng.choice((1, 5, 20))):
        if rng.random() < 0.5:
            node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=leaf)
        else:
            node = helper.make_node("Loop", ["", "c"], ["y"], body=inner)
        inner = helper.make_graph([node], "g", [], [])
    model.graph.node.insert(rng.randint(0, len(model.graph.node)), inner.node[0])


EDITS: tuple[Edit, ...] = (
    _shape_of_a_constant, _type_of_a_constant, _data_of_a_constant, _external, _shape_of_a_value, _type_of_a_value,
    _drop, _copy, _edge, _edge, _order, _operator, _attribute, _attribute, _versions, _function, _subgraph,
)  # fmt: skip


class _Touch:
    """Unpickles to a call: what a checkpoint must never do."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return open, (f"{self.canary}/secret.bin",)


def spoil_checkpoint(rng: random.Random, data: bytes, canary: str) -> bytes:
    """A checkpoint with other entries, other tensors, other bytes, or with code to run."""
    choice = rng.random()
    if choice < 0.35:
        return bytes(spoil_bytes(rng, data))
    if choice < 0.5:
        return _repacked(rng, data, canary)
    state = torch.load(io.BytesIO(data), weights_only=True)
    net = state["net"]
    for _ in range(rng.randint(1, 3)):
        holder = net if net and rng.random() < 0.7 else state
        name = rng.choice(list(holder) or ["net"])
        edit = rng.randrange(6)
        if edit == 0:
            holder.pop(name, None)
        elif edit == 1:
            odd: tuple[Any, ...] = (None, 1, "x", [], {}, {"net": 1}, float("nan"), torch.zeros(3, 3, 3))
            holder[name] = rng.choice(odd)
        elif edit == 2 and isinstance(holder.get(name), torch.Tensor):
            holder[name] = holder[name].to(rng.choice((torch.int8, torch.float64, torch.bool, torch.complex64)))
        elif edit == 3 and isinstance(holder.get(name), torch.Tensor):
            holder[name] = holder[name].flatten()[: rng.randint(0, 3)]
        elif edit == 4:
            holder[rng.choice(("net", "identity", "epoch", "optimisers", "", "x" * 300))] = holder.get(name)
        else:
            state = rng.choice(([state], net, {"net": state}, 3, "x")) if rng.random() < 0.2 else state
            break
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _repacked(rng: random.Random, data: bytes, canary: str) -> bytes:
    """The archive with one member changed and all its checksums right; now and then a pickle that opens a file."""
    if rng.random() < 0.2:
        return pickle.dumps({"net": _Touch(canary)})
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        names = source.namelist()
        spoilt = rng.choice([n for n in names if n.endswith("data.pkl")] if rng.random() < 0.6 else names)
        for name in names:
            content = source.read(name)
            if name == spoilt:
                content = pickle.dumps(_Touch(canary)) if rng.random() < 0.2 else spoil_bytes(rng, content)
            packed = zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
            target.writestr(zipfile.ZipInfo(name), content, packed)
    return out.getvalue()
