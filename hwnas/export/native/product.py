"""MatMul where no operand is a constant matrix over rows: two activations, or a constant of other rank or side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.ir import Step, plain
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.quantisation import KINDS, NOT_QUANTISED, emit_quantised, target_of
from hwnas.export.native.reader import Quantised, Reader, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

    from hwnas.kernels.product import Product

#: exact int32 sums of products of two 8-bit numbers
LARGEST_INNER = (2**31 - 1) // 255**2


def read_product(reader: Reader, node: NodeProto) -> None:
    """Floats; a constant operand keeps its side."""
    names, shapes, constants = list[str](), list[tuple[int, ...]](), dict[str, np.ndarray]()
    for index, side in enumerate("ab"):
        if reader.is_constant(node.input[index]):
            constants[side] = reader.constant(node, index)
            shapes.append(constants[side].shape)
        else:
            source = reader.plain(node, index)
            names.append(source.name)
            shapes.append(source.shape)
    value = plain(node.output[0], "f32", _result(node, *shapes))
    attributes: dict[str, object] = {"a": shapes[0], "b": shapes[1]}
    reader.emit("matmul_f32", node, tuple(names), value, attributes, constants)
    reader.result(node, value)


def product_as_integers(reader: Reader, node: NodeProto) -> str | None:
    """QLinearMatMul: codes of both operands, a constant one too, of one scale each."""
    shapes, codes, constants = list[tuple[int, ...]](), list[Quantised | None](), dict[str, np.ndarray]()
    for index in (0, 1):
        held = reader.quantised_constants.get(node.input[index])
        if held is None and not reader.is_quantised(node, index):
            return "one of its operands is not quantised"
        if held is not None and (held.scale.size != 1 or held.integers.dtype not in KINDS):
            return "its constant operand has more than one scale, or is not 8-bit"
        codes.append(held)
        shapes.append(reader.tensor(node, index).shape if held is None else held.integers.shape)
    shape = _result(node, *shapes)
    target = target_of(reader, node, plain("", "u8", shape), shape)
    if target is None:
        return NOT_QUANTISED
    if shapes[0][-1] > LARGEST_INNER:
        return f"{shapes[0][-1]} products overflow int32"
    names, meaning = list[str](), list[tuple[float, int, bool]]()
    for index, held in enumerate(codes):
        if held is None:
            value = reader.plain_codes(node, index)
            names.append(value.name)
            meaning.append((value.scale, value.zero_point, value.kind == "i8"))
        else:
            constants["ab"[index]] = held.integers
            meaning.append((float(held.scale[0]), held.zero_point, held.integers.dtype == np.int8))
    attributes: dict[str, object] = {"a": shapes[0], "b": shapes[1], "codes": tuple(meaning)}
    emit_quantised(reader, "matmul_int", node, tuple(names), target, attributes, constants)
    return None


def _result(node: NodeProto, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """numpy's matmul of the shapes, vectors left to Gemm."""
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        batch = None
    if batch is None or min(len(a), len(b)) < 2 or a[-1] != b[-2]:
        raise refuse(node, f"shapes {list(a)} and {list(b)}", ("[.., M, K] and [.., K, N]",))
    return (*batch, a[-2], b[-1])


def bind_product(lowering: Lowering, step: Step) -> KernelCall:
    """The kernel over floats or over codes; a constant `a` comes before the other operand."""
    product, late = _product(step), 1 if "a" in step.constants else 0
    constants = [np.ascontiguousarray(constant).reshape(-1) for constant in step.constants.values()]
    if step.kind == "matmul_f32":
        from hwnas.kernels import fp32_matmul

        real = fp32_matmul.Fp32MatMul(product)
        return lowering.call(step, fp32_matmul, real, constants, late=late, macs=real.macs)
    from hwnas.kernels import int8_matmul

    meaning = step.attributes["codes"]
    assert isinstance(meaning, tuple)
    (a_scale, a_zero, a_signed), (b_scale, b_zero, b_signed) = meaning
    y = lowering.value(step.outputs[0])
    spec = int8_matmul.Int8MatMul(product, (a_zero, b_zero, y.zero_point), (a_signed, b_signed, y.kind == "i8"))
    scale = int8_matmul.pack(spec, lowering.target, (a_scale, b_scale, y.scale))
    if late:
        raise HwnasError(f"node {step.node!r}: an 8-bit constant times an activation", nearest=("activation first",))
    return lowering.call(step, int8_matmul, spec, [*constants, *scale], macs=spec.macs)


def _product(step: Step) -> Product:
    from hwnas.kernels.product import product_of

    return product_of(step.integers("a"), step.integers("b"))
