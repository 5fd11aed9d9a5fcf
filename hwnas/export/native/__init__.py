"""The native exporter: an ONNX model to a dependency-free C library, and back into Python as a function."""

from __future__ import annotations

from hwnas.export.native.compile import NativeArtifact, compile_onnx, open_artifact
from hwnas.export.native.load import NativeModel, load_native

__all__ = ["NativeArtifact", "NativeModel", "compile_onnx", "load_native", "open_artifact"]
