"""Functions of one value in numpy, as ONNX defines them and ONNX Runtime evaluates them in float32.

The one definition that tables of 256 codes, references of kernels and layers' own references are made of. The result
has the type of the argument; constants are float32's, as in the exported model.
"""

from __future__ import annotations

import numpy as np

F32 = np.float32
SIXTH = 1.0 / 6.0  # of hard-swish and of squeeze-and-excite's gate


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    result: np.ndarray = np.maximum(x, F32(0))
    return result


def clip(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """min(max(x, low), high)."""
    result: np.ndarray = np.minimum(np.maximum(x, F32(low)), F32(high))
    return result


def hard_sigmoid(x: np.ndarray, alpha: float = 0.2, beta: float = 0.5) -> np.ndarray:
    """max(0, min(1, alpha * x + beta)), multiply then add: two roundings."""
    return clip(F32(alpha) * x + F32(beta), 0, 1)


def hard_gate(x: np.ndarray) -> np.ndarray:
    """hard_sigmoid(x, 1/6, 1/2): MobileNetV3's gate (arXiv:1905.02244)."""
    return hard_sigmoid(x, SIXTH)


def hard_swish(x: np.ndarray) -> np.ndarray:
    """x * hard_gate(x): the function body that ONNX gives HardSwish."""
    return x * hard_gate(x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), rounded once from double precision."""
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and its reciprocal 0 as it should be
        result: np.ndarray = (1.0 / (1.0 + np.exp(-x.astype(np.float64)))).astype(x.dtype)
    return result


def tanh(x: np.ndarray) -> np.ndarray:
    """tanh(x), rounded once from double precision."""
    result: np.ndarray = np.tanh(x.astype(np.float64)).astype(x.dtype)
    return result


def leaky_relu(x: np.ndarray, alpha: float) -> np.ndarray:
    """x where x >= 0, alpha * x elsewhere."""
    result: np.ndarray = np.where(x >= 0, x, F32(alpha) * x).astype(x.dtype)
    return result


def identity(x: np.ndarray) -> np.ndarray:
    """x."""
    return x
