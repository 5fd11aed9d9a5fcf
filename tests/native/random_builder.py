"""What random graphs are built with: tensors with a bound of what may differ, quantisation, weights and windows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: float32's rounding is at most half of this, relative
EPS = 2.0**-23


@dataclass(frozen=True)
class Tensor:
    """A float tensor; `codes` is (scale, zero point, numpy type) where it comes out of DequantizeLinear."""

    name: str
    shape: tuple[int, ...]
    slack: float = 0.0
    peak: float = 4.0
    codes: tuple[float, int, type] | None = None


@dataclass
class Builder:
    random: np.random.Generator
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    forms_of: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    binary: bool = False

    def chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def pick(self, *options: object) -> object:
        return options[int(self.random.integers(len(options)))]

    def size(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def constant(self, array: np.ndarray) -> str:
        tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(np.shape(array)))
        if self.chance(0.05):
            name = f"n{len(self.nodes)}"
            self.nodes.append(helper.make_node("Constant", [], [name], name=f"Constant_{name}", value=tensor))
            return name
        tensor.name = f"c{len(self.constants)}"
        self.constants.append(tensor)
        return tensor.name

    def normal(self, *shape: int) -> np.ndarray:
        return self.random.normal(size=shape).astype(np.float32)

    def node(self, op: str, inputs: list[str], form: str, domain: str = "", **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.forms_of[name] = [(op, form)]
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{op}_{name}", domain=domain, **attributes))
        return name

    def split(self, x: str, sizes: str, axis: int) -> tuple[str, str]:
        """Both parts of a Split of two."""
        names = (f"t{len(self.nodes)}", f"t{len(self.nodes)}b")
        self.forms_of[names[0]] = [("Split", "sizes")]
        self.nodes.append(helper.make_node("Split", [x, sizes], names, name=f"Split_{names[0]}", axis=axis))
        return names

    # quantisation

    def quantise(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        """x through QuantizeLinear and DequantizeLinear, with the codes of `like` or codes of its own."""
        if like is not None and like.codes is not None:
            scale, zero, kind = like.codes
        else:
            kind = np.int8 if self.chance(0.3) else np.uint8
            zero = int(self.pick(0, -3, 20) if kind is np.int8 else self.pick(0, 128, 117))  # type: ignore[call-overload]
            spread = min(x.peak, 4.0) / 100
            scale = float(np.float32(self.pick(spread, spread, 1 / 64, 0.05)))
        info = np.iinfo(kind)
        zeros = self.constant(np.array(zero, kind))
        given = [self.constant(np.array(scale, np.float32)), zeros]
        attributes = {}
        if zero == 0 and self.chance(0.5):
            if kind is np.uint8:
                given = given[:1]
            elif self.opset >= 21:
                given, attributes = given[:1], {"output_dtype": TensorProto.INT8}
        if self.opset >= 21 and self.chance(0.02):
            given, attributes = [given[0], self.constant(np.array(0, np.int16))], {}
            q = self.node("QuantizeLinear", [x.name, *given], "other")
            return Tensor(self.node("DequantizeLinear", [q, *given], "other"), x.shape, x.slack, x.peak)
        q = self.node("QuantizeLinear", [x.name, *given], "tensor", **attributes)
        back = given if len(given) == 2 or self.chance(0.5) else [given[0], zeros]
        slack = x.slack + (scale if x.slack else 0.0)
        factor = 1.5 if self.chance(0.05) else 1.0
        if factor > 1:  # the same codes with another meaning
            back, scale = [self.constant(np.array(scale * factor, np.float32)), *back[1:]], scale * factor
        name = self.node("DequantizeLinear", [q, *back], "tensor")
        peak, slack = max(abs(info.min - zero), abs(info.max - zero)) * scale, slack * factor
        return Tensor(name, x.shape, slack, peak, (scale, zero, kind))

    def weight(self, array: np.ndarray, axis: int, quantised: bool) -> tuple[str, np.ndarray, np.ndarray | None, str]:
        """(name, what it means, its scales, form): float, or through DequantizeLinear where `quantised`."""
        if not quantised or self.chance(0.1):
            return self.constant(array), array, None, "weights"
        per_channel = self.opset >= 13 and self.chance(0.6)
        axes = tuple(i for i in range(array.ndim) if i != axis)
        most = np.abs(array).max(axis=axes if per_channel else None)
        scale = np.maximum(most / 63, 1e-3).astype(np.float32)
        if not per_channel:
            scale = np.float32(scale)
        shape = [1] * array.ndim
        if per_channel:
            shape[axis] = -1
        integers = np.clip(np.rint(array / scale.reshape(shape)), -63, 63)
        kind, zero = (np.uint8, 100) if self.chance(0.1) else (np.int8, 0)
        integers = (integers + zero).astype(kind)
        inputs = [self.constant(integers), self.constant(np.asarray(scale))]
        if zero or self.chance(0.5):
            inputs.append(self.constant(np.full(scale.shape, zero, kind)))
        attributes = {"axis": axis if self.chance(0.7) else axis - array.ndim} if per_channel else {}
        name = self.node("DequantizeLinear", inputs, "constant", **attributes)
        real = (integers.astype(np.float32) - zero) * scale.reshape(shape)
        return name, real, np.broadcast_to(scale, (array.shape[axis],)), "weights" if zero else "window"

    def bias(self, count: int, x: Tensor, scales: np.ndarray | None) -> tuple[str, float]:
        """(name, largest magnitude): float, int32 with the scale s_x * s_w, or int32 with a scale of its own."""
        values = self.normal(count) * np.float32(0.5)
        peak = float(np.abs(values).max())
        if x.codes is None or scales is None or self.chance(0.25):
            return self.constant(values), peak
        unit = np.float32(x.codes[0]) * scales
        if self.chance(0.4):
            unit = np.full(count, self.pick(0.01, 0.0037, 1e-4), np.float32)
        if self.opset < 13:
            if not np.all(unit == unit[0]):
                return self.constant(values), peak
            unit = unit[:1].reshape(())
        inputs = [self.constant(np.rint(values / unit).astype(np.int32)), self.constant(unit)]
        attributes = {"axis": 0} if unit.ndim else {}
        return self.node("DequantizeLinear", inputs, "constant", **attributes), peak + float(np.max(unit))

    def window(self, op: str, x: Tensor, kernel: tuple[int, int]) -> tuple[dict[str, object], tuple[int, int]] | None:
        """Attributes of a window over x and the size of what it gives; None where it does not fit."""
        strides = [self.size(1, 2), self.size(1, 2)]
        dilates = op == "Conv" or (op == "MaxPool" and self.opset >= 10) or (op == "AveragePool" and self.opset >= 19)
        dilations = [self.size(1, 2), self.size(1, 2)] if dilates and self.chance(0.3) else [1, 1]
        extent = [dilations[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
        attributes: dict[str, object] = {"kernel_shape": list(kernel), "strides": strides}
        if dilates and (dilations != [1, 1] or self.chance(0.2)):
            attributes["dilations"] = dilations
        sizes, pads = x.shape[2:], [0, 0, 0, 0]
        mode = self.pick("NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
        if op != "Conv" and max(strides[i] - kernel[i] for i in (0, 1)) > 0:
            mode = "NOTSET"  # ONNX Runtime fails where a pool's stride is larger than its window
        if mode != "NOTSET" and dilations == [1, 1]:
            attributes["auto_pad"] = mode
        if mode in ("SAME_UPPER", "SAME_LOWER") and dilations == [1, 1]:
            return attributes, (-(-sizes[0] // strides[0]), -(-sizes[1] // strides[1]))
        if "auto_pad" not in attributes and self.chance(0.7):
            reach = extent if op == "Conv" else kernel
            pads = [self.size(0, min(2, reach[i % 2] - 1)) for i in range(4)]
            attributes["pads"] = pads
        room = [sizes[i] + pads[i] + pads[i + 2] - extent[i] for i in (0, 1)]
        if min(room) < 0:
            return None
        if op != "Conv" and self.opset >= 10 and "auto_pad" not in attributes and not any(pads) and self.chance(0.3):
            attributes["ceil_mode"] = 1
            return attributes, (-(-room[0] // strides[0]) + 1, -(-room[1] // strides[1]) + 1)
        return attributes, (room[0] // strides[0] + 1, room[1] // strides[1] + 1)
