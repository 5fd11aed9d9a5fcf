"""The native exporter: an ONNX model to a dependency-free C library, and back into Python as a function."""

from __future__ import annotations

from hwnas.export.native.artifact import NativeArtifact, open_artifact
from hwnas.export.native.compile import compile_onnx
from hwnas.export.native.fallback import RuntimeModel, keep_for_onnxruntime
from hwnas.export.native.load import NativeModel, load_native

__all__ = [
    "NativeArtifact",
    "NativeModel",
    "RuntimeModel",
    "compile_onnx",
    "keep_for_onnxruntime",
    "load_native",
    "open_artifact",
]
