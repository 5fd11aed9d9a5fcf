"""What a model's shapes are inferred of: its nodes, with stand-ins for what ONNX does not know or must not see.

Large constants stand in it as inputs of their shape; a node outside ONNX's own domain as a node of ONNX that gives the
same shape, which its operator's file makes (`stand_in`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.model_file import array_of
from hwnas.export.native.operator import operators, qualified

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, ValueInfoProto

#: constants of at most this many elements keep their numbers: shapes, axes and bounds
SMALL = 64


@dataclass(frozen=True)
class Skeleton:
    """What a stand-in is made of: the live nodes, the constants, and the inputs by name, which it may add to."""

    nodes: tuple[NodeProto, ...]
    constants: Mapping[str, np.ndarray]
    inputs: dict[str, ValueInfoProto]

    def constant(self, name: str) -> np.ndarray | None:
        """An initializer, or what a Constant node holds."""
        if name in self.constants:
            return self.constants[name]
        for maker in self.nodes:
            if maker.op_type == "Constant" and maker.output[0] == name:
                return next((array_of(item.t) for item in maker.attribute if item.name == "value"), None)
        return None

    def float_input(self, name: str, shape: Sequence[int]) -> str:
        """A new float32 input of this shape, for the stand-in to read; returns its name."""
        from onnx import TensorProto, helper

        new = f"hwnas:{len(self.inputs)}:{name}"
        self.inputs[new] = helper.make_tensor_value_info(new, TensorProto.FLOAT, shape)
        return new


def skeleton_of(
    graph: GraphProto,
    nodes: tuple[NodeProto, ...],
    constants: Mapping[str, np.ndarray],
    given: Sequence[ValueInfoProto],
) -> tuple[GraphProto, dict[str, NodeProto]]:
    """(the graph with stand-ins, the nodes that they stand for by their output)."""
    from onnx import GraphProto, helper, numpy_helper

    skeleton = GraphProto(name=graph.name or "graph")
    own: dict[str, NodeProto] = {}
    known, used = operators().of_node, set[str]()
    held = Skeleton(nodes, constants, {item.name: item for item in given})
    for node in nodes:
        stand_in = vars(known[qualified(node)]).get("stand_in") if qualified(node) in known else None
        if stand_in is not None:
            own[node.output[0]] = node
            node = stand_in(node, held)
        used.update(node.input)
        skeleton.node.append(node)
    inputs = held.inputs
    for name in used & constants.keys():
        array = constants[name]
        if array.size <= SMALL:
            skeleton.initializer.append(numpy_helper.from_array(array, name))
        else:
            kind = int(helper.np_dtype_to_tensor_dtype(array.dtype))
            inputs[name] = helper.make_tensor_value_info(name, kind, array.shape)
    skeleton.input.extend(inputs.values())
    skeleton.output.extend(graph.output)
    ends = {item.name for item in graph.output}
    made = {name for node in nodes for name in node.output}
    skeleton.value_info.extend(item for item in graph.value_info if item.name in made - ends)
    return skeleton, own
