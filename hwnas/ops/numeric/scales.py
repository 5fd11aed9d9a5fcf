"""Scale: how uint8 stands for real numbers, `real = (code - zero_point) * scale`, and how it rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LEVELS = 255  # uint8 codes 0..255
SMALLEST = np.float32(2.0**-100)  # a constant-zero tensor still needs a scale that divides


@dataclass(frozen=True, slots=True)
class Scale:
    """One tensor's affine uint8 code. `scale` is exactly representable in float32."""

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> Scale:
        """The code that covers [low, high] and zero exactly (zero must be exact: padding is made of it)."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max(np.float32((high - low) / LEVELS), SMALLEST)
        return cls(float(scale), int(np.clip(np.rint(-low / float(scale)), 0, LEVELS)))

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Scale:
        """What `arrays` gave."""
        return cls(float(arrays["scale"]), int(arrays["zero_point"]))

    @property
    def value(self) -> np.float32:
        return np.float32(self.scale)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """`scale` float32 () and `zero_point` uint8 (), as they ship."""
        return {"scale": np.asarray(self.value), "zero_point": np.asarray(self.zero_point, np.uint8)}


@dataclass(frozen=True, slots=True)
class Codes:
    """The uint8 codes of a layer's inputs and of its output; None where that tensor is float32."""

    inputs: tuple[Scale | None, ...]
    output: Scale | None

    @property
    def source(self) -> Scale:
        """The first input's code."""
        return self.input(0)

    @property
    def target(self) -> Scale:
        """The output's code."""
        assert self.output is not None, "an integer layer's output has a code"
        return self.output

    def input(self, index: int) -> Scale:
        """The code of one input."""
        scale = self.inputs[index]
        assert scale is not None, "an integer layer's input has a code"
        return scale


def saturate(codes: np.ndarray) -> np.ndarray:
    """Rounded float codes to uint8."""
    result: np.ndarray = np.clip(codes, 0, LEVELS).astype(np.uint8)
    return result


def quantise(real: np.ndarray, scale: Scale) -> np.ndarray:
    """QuantizeLinear: divide, round half to even, add the zero point, saturate."""
    return saturate(np.rint(real / scale.value) + np.float32(scale.zero_point))


def dequantise(codes: np.ndarray, scale: Scale) -> np.ndarray:
    """DequantizeLinear: subtract the zero point in integers, multiply in float32."""
    result: np.ndarray = (codes.astype(np.int32) - scale.zero_point).astype(np.float32) * scale.value
    return result


def requantise(accumulator: np.ndarray, factor: np.ndarray | np.float32, zero_point: int) -> np.ndarray:
    """ONNX Runtime's epilogue of QLinearConv and QGemm: float32(acc) * factor, round half to even, + zero point."""
    return saturate(np.rint(accumulator.astype(np.float32) * factor) + np.float32(zero_point))


def table(function: np.ufunc | object, scale_in: Scale, scale_out: Scale) -> np.ndarray:
    """The 256 output codes of an elementwise float32 function between two codes."""
    real = dequantise(np.arange(256, dtype=np.uint8), scale_in)
    return quantise(function(real), scale_out)  # type: ignore[operator]


def weight_scales(weight: np.ndarray, bits: int) -> np.ndarray:
    """Symmetric float32 scales, one an output channel (axis 0), so that the largest weight is 2^(bits-1) - 1."""
    largest = np.abs(weight.reshape(weight.shape[0], -1)).max(axis=1).astype(np.float32)
    scales: np.ndarray = np.maximum(largest / np.float32(2 ** (bits - 1) - 1), SMALLEST).astype(np.float32)
    return scales
