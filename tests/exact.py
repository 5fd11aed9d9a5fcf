"""ONNX Runtime as the reference of integer arithmetic, on any machine."""

from __future__ import annotations

from hwnas.testing.onnx_runtime import exact_options, exact_session

__all__ = ["exact_options", "exact_session"]
