"""ONNX Runtime as the reference of integer arithmetic, on any machine."""

from __future__ import annotations

import onnx
import onnxruntime


def exact_options() -> onnxruntime.SessionOptions:
    """One thread, and exact products of unsigned and signed bytes: on x86 without VNNI they saturate by default, and
    ONNX Runtime would be the one that is wrong."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def exact_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session of the model with `exact_options`."""
    return onnxruntime.InferenceSession(model.SerializeToString(), exact_options(), ["CPUExecutionProvider"])
