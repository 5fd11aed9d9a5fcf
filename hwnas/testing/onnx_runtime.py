"""ONNX Runtime as the reference of integer arithmetic, on any machine; and one layer run in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hwnas.network import Layer
from hwnas.ops import primitive_of
from hwnas.ops.primitive import Codes

if TYPE_CHECKING:
    import onnx
    import onnxruntime


def exact_options() -> onnxruntime.SessionOptions:
    """One thread, and exact products of unsigned and signed bytes: on x86 without VNNI they saturate by default, and
    ONNX Runtime would be the one that is wrong."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def exact_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session of the model with `exact_options`."""
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString(), exact_options(), ["CPUExecutionProvider"])


def lowered(
    layer: Layer, inputs: Sequence[np.ndarray], tensors: Mapping[str, np.ndarray], codes: Codes, like: np.ndarray
) -> np.ndarray:
    """What ONNX Runtime gives for a layer as it is exported, on inputs (n, ...); shape and type are those of `like`."""
    import onnx
    from onnx import helper

    from hwnas.export.onnx_binary import binary_conv_function
    from hwnas.export.onnx_graph import IR_VERSION, OPSET, Graph

    graph, names = Graph(), [f"x{i}" for i in range(len(inputs))]
    name = primitive_of(layer.kind).lower(layer, "layer", names, tensors, codes, graph)
    kind = helper.np_dtype_to_tensor_dtype
    ends = [helper.make_tensor_value_info(n, kind(x.dtype), x.shape) for n, x in zip(names, inputs, strict=True)]
    result = helper.make_tensor_value_info(name, kind(like.dtype), like.shape)
    binary = any(node.domain == "hwnas" for node in graph.nodes)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "layer", ends, [result], list(graph.initializers.values())),
        opset_imports=[helper.make_opsetid("", OPSET)] + [helper.make_opsetid("hwnas", 1)] * binary,
        functions=[binary_conv_function()] * binary,
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return np.asarray(exact_session(model).run(None, dict(zip(names, inputs, strict=True)))[0])
