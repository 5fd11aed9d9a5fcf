"""Cases of the kernels over dense tensors of any rank: seeded shapes and corners, checked against numpy references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from hwnas.kernels import (
    fp32_elementwise,
    fp32_layer_norm,
    fp32_matmul,
    fp32_reduce,
    fp32_softmax_axis,
    fp32_unary,
    gather_rows,
    int8_layer_norm,
    int8_matmul,
    rearrange,
    resize,
)
from hwnas.kernels.image import Image
from hwnas.kernels.memory import aligned_copy
from hwnas.kernels.product import Product, product_of
from hwnas.kernels.target import Target

_MARK = 99


@dataclass(frozen=True)
class TensorCase:
    """One kernel call: `arguments` ends with the output, filled with a marker; `allowed` is each element's error."""

    function: Any
    arguments: tuple[np.ndarray, ...]
    expected: np.ndarray
    allowed: Any = 0.0

    @property
    def symbol(self) -> str:
        return str(self.function.attrs["global_symbol"])

    def problem(self) -> str:
        """What is wrong with the output, or nothing."""
        got, expected = self.arguments[-1], self.expected.reshape(-1)
        with np.errstate(invalid="ignore"):  # infinities, which must be equal, and NaN
            off = np.abs(np.subtract(got, expected, dtype=np.float64)) > np.broadcast_to(self.allowed, expected.shape)
        off |= (np.isnan(got) != np.isnan(expected)) | (
            (got != expected) & ~np.isfinite(expected) & ~np.isnan(expected)
        )
        if not off.any():
            return ""
        first = int(np.argmax(off))
        return f"{self.symbol}: {int(off.sum())} of {off.size} differ, [{first}] is {got[first]}, not {expected[first]}"


def tensor_case(
    module: ModuleType,
    spec: Any,
    target: Target,
    inputs: Sequence[np.ndarray],
    expected: np.ndarray,
    allowed: Any = 0.0,
) -> TensorCase:
    """The built kernel, its inputs (constants included) and its answer."""
    y = np.full(expected.size, _MARK, expected.dtype)
    arguments = tuple(aligned_copy(np.ascontiguousarray(array).reshape(-1)) for array in (*inputs, y))
    return TensorCase(module.build(spec, target), arguments, expected, allowed)


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) * 3).astype(np.float32)


def codes(rng: np.random.Generator, signed: bool, *shape: int) -> np.ndarray:
    """Random codes with many extremes."""
    drawn = rng.choice(np.array([0, 255, 0, 255, 1, 127, 128, *range(256)], np.uint8), shape)
    return drawn.view(np.int8) if signed else drawn


def random_product(rng: np.random.Generator, largest: int = 21) -> Product:
    """Ranks 2 to 4, broadcast batches, both transposes."""
    rows, inner, columns = (int(size) for size in rng.integers(1, largest, 3))
    batch = [int(size) for size in rng.integers(1, 4, rng.integers(0, 3))]
    flip = rng.integers(0, 2, 2)
    a = [rows, inner][:: -1 if flip[0] else 1]
    b = [inner, columns][:: -1 if flip[1] else 1]
    shorter = [1 if rng.integers(2) else size for size in batch][int(rng.integers(0, len(batch) + 1)) :]
    return product_of((*batch, *a), (*shorter, *b), bool(flip[0]), bool(flip[1]))


def matmul_cases(rng: np.random.Generator, target: Target, product: Product) -> list[TensorCase]:
    """The product of floats, and of codes of random signs."""
    a, b = floats(rng, product.a_size), floats(rng, product.b_size)
    spec = fp32_matmul.Fp32MatMul(product, float(np.float32(rng.uniform(0.1, 2))))
    left, right = product.views(np.abs(a).astype(np.float64), np.abs(b).astype(np.float64))
    allowed = (spec.scale * (left @ right) * product.inner * 2.0**-23).reshape(-1)
    cases = [tensor_case(fp32_matmul, spec, target, [a, b], fp32_matmul.reference(spec, a, b), allowed)]
    signed = tuple(bool(bit) for bit in rng.integers(0, 2, 3))
    zeros = tuple(int(rng.integers(-128, 128) if sign else rng.integers(0, 256)) for sign in signed)
    eight = int8_matmul.Int8MatMul(product, zeros, signed)  # type: ignore[arg-type]
    x, y = codes(rng, signed[0], product.a_size), codes(rng, signed[1], product.b_size)
    scale = int8_matmul.pack(eight, target, (0.02, 0.03, 0.04 * product.inner**0.5))
    return [*cases, tensor_case(int8_matmul, eight, target, [x, y, *scale], int8_matmul.reference(eight, x, y, *scale))]


def norm_cases(rng: np.random.Generator, target: Target, rows: int, length: int) -> list[TensorCase]:
    """Layer norms of floats and of codes; the last row is constant."""
    x, gamma, beta = floats(rng, rows, length) + np.float32(1), floats(rng, length), floats(rng, length)
    x[-1] = 2.5
    spec = fp32_layer_norm.Fp32LayerNorm(rows, length)
    deviation = np.sqrt(x.astype(np.float64).var(axis=1, keepdims=True) + 1e-5)
    noise = (length + 8) * 2.0**-24 * (np.abs(x).max(axis=1, keepdims=True) / deviation + 4)
    allowed = (noise * (np.abs(gamma) + 1) + 2.0**-22 * np.abs(beta)).reshape(-1)
    packed = fp32_layer_norm.pack(spec, target, gamma, beta)
    cases = [
        tensor_case(fp32_layer_norm, spec, target, [x, *packed], fp32_layer_norm.reference(spec, x, *packed), allowed)
    ]
    for signed in (False, True):
        eight = int8_layer_norm.Int8LayerNorm(rows, length, -3 if signed else 120, signed, signed)
        q = codes(rng, signed, rows, length)
        q[-1] = 7
        constants = int8_layer_norm.pack(eight, target, gamma, beta, 1e-5, (0.02, 0.05))
        expected = int8_layer_norm.reference(eight, q, *constants)
        cases.append(tensor_case(int8_layer_norm, eight, target, [q, *constants], expected))
    return cases


def softmax_cases(rng: np.random.Generator, target: Target, shape: tuple[int, int, int]) -> list[TensorCase]:
    spec, x = fp32_softmax_axis.Fp32SoftmaxAxis(*shape), floats(rng, *shape) * 4
    if shape[1] > 1:
        x[0, 0, 0] = -np.inf  # a masked score
    expected = fp32_softmax_axis.reference(spec, x)
    below = np.minimum(x.max(axis=1, keepdims=True) - x, 90)
    allowed = ((shape[1] + 8 + below) * 2.0**-23 * expected + 1e-36).reshape(-1)
    return [tensor_case(fp32_softmax_axis, spec, target, [x], expected, allowed)]


def elementwise_cases(rng: np.random.Generator, target: Target) -> list[TensorCase]:
    """Every operation, shapes that broadcast in every way."""
    pairs = [
        ((3, 5, 7), (3, 5, 7)),
        ((2, 3, 17), (17,)),
        ((4, 1, 9), (3, 1)),
        ((1,), (2, 3)),
        ((2, 1, 5, 1), (3, 1, 4)),
    ]
    cases = []
    for index, operation in enumerate(fp32_elementwise.OPERATIONS):
        spec = fp32_elementwise.Fp32Elementwise(*pairs[index % len(pairs)], operation)
        a, b = floats(rng, *spec.a), floats(rng, *spec.b)
        cases.append(tensor_case(fp32_elementwise, spec, target, [a, b], fp32_elementwise.reference(spec, a, b)))
    return cases


def reduce_cases(rng: np.random.Generator, target: Target) -> list[TensorCase]:
    cases = []
    for shape, axes in (
        ((3, 4, 19), (1,)),
        ((3, 4, 5), (2,)),
        ((2, 3, 4, 5), (1, 3)),
        ((7,), (0,)),
        ((2, 6, 3), (0, 1, 2)),
    ):
        for operation in fp32_reduce.OPERATIONS:
            spec, x = fp32_reduce.Fp32Reduce(shape, axes, operation), floats(rng, *shape)
            exact = operation in ("max", "min")
            allowed = 0.0 if exact else x.size * 2.0**-24 * np.abs(x).max() * (1 if operation == "mean" else x.size)
            cases.append(tensor_case(fp32_reduce, spec, target, [x], fp32_reduce.reference(spec, x), allowed))
    return cases


def gather_cases(rng: np.random.Generator, target: Target) -> list[TensorCase]:
    """Every type of id and row; some ids lie far outside the table."""
    cases = []
    for ids in gather_rows.ID_TYPES:
        for dtype in ("float32", "uint8", "int8"):
            outer, rows, width, count = (int(size) for size in rng.integers(1, [3, 90, 40, 9]))
            spec = gather_rows.GatherRows(outer, rows, width, count, dtype, ids)
            limits = np.iinfo(ids)
            given = rng.integers(max(-rows, limits.min), min(rows, limits.max), count).astype(ids)
            given[-1], given[0] = limits.max, limits.min
            table = (
                floats(rng, outer, rows, width)
                if dtype == "float32"
                else codes(rng, dtype == "int8", outer, rows, width)
            )
            cases.append(
                tensor_case(gather_rows, spec, target, [given, table], gather_rows.reference(spec, given, table))
            )
    return cases


def rearrange_cases(rng: np.random.Generator, target: Target) -> list[TensorCase]:
    """Transposes, slices with steps of both signs, pads that add and crop, joins."""
    specs = []
    for dtype in ("float32", "uint8"):
        specs += [
            rearrange.transposition((2, 3, 5, 4), (0, 2, 1, 3), dtype),
            rearrange.transposition((6, 7), (1, 0), dtype),
            rearrange.section((5, 9), (4, 1), (-2, 3), (3, 2), dtype),
            rearrange.section((4, 20), (1, 0), (1, 1), (2, 17), dtype),
            rearrange.padding((3, 4), (1, 0), (2, 3), 7, dtype),
            rearrange.padding((5, 6), (-1, 2), (1, -3), 1, dtype),
            rearrange.joined([(2, 3, 4), (2, 5, 4), (2, 1, 4)], 1, dtype),
        ]
    cases = []
    for spec in specs:
        sources = [
            floats(rng, c.x_size) if spec.dtype == "float32" else codes(rng, False, c.x_size) for c in spec.copies
        ]
        cases.append(tensor_case(rearrange, spec, target, sources, rearrange.reference(spec, *sources)))
    return cases


def resize_cases(rng: np.random.Generator, target: Target) -> list[TensorCase]:
    """Both modes over floats and codes, growing and shrinking, every rule of positions."""
    cases = []
    for index, place in enumerate(resize.POSITIONS):
        for mode in resize.MODES:
            for dtype in resize.TYPES:
                x, y = Image(4, 5, 3 + 6 * index), Image(7 + index, 3 + index, 3 + 6 * index)
                spec = resize.Resize(x, y, mode, dtype)
                data = floats(rng, *x.shape) if dtype == "float32" else codes(rng, dtype == "int8", *x.shape)
                rows, columns = resize.positions(4, y.height, place), resize.positions(5, y.width, place)
                packed = resize.pack(spec, target, rows, columns, resize.ROUNDINGS[index])
                expected = resize.reference(spec, data, *packed)
                allowed = 1e-5 if dtype == "float32" and mode == "linear" else 0.0
                cases.append(tensor_case(resize, spec, target, [data, *packed], expected, allowed))
    return cases


# function -> (lowest, highest argument, error relative to the result, absolute error)
RANGES: dict[str, tuple[float, float, float, float]] = {
    "abs": (-1e30, 1e30, 0, 0),
    "negate": (-1e30, 1e30, 0, 0),
    "reciprocal": (1e-3, 1e3, 2e-7, 0),
    "sqrt": (0, 1e30, 6e-8, 0),
    "exp": (-86, 88.7, 4e-7, 0),
    "log": (1e-30, 1e30, 2.4e-7, 2e-7),
    "erf": (-6, 6, 0, 4e-7),
    "tanh": (-12, 12, 0, 3e-7),
    "sigmoid": (-20, 20, 5e-7, 0),
    "silu": (-20, 20, 6e-7, 1e-9),
    "gelu": (-30, 30, 2e-7, 1e-33),
    "gelu_tanh": (-30, 30, 2e-7, 1e-33),
}


def unary_cases(rng: np.random.Generator, target: Target, size: int = 4099) -> list[TensorCase]:
    """Every function over its range, evenly and in every magnitude, with powers whole, halves and others."""
    cases = []
    for function, (low, high, relative, absolute) in RANGES.items():
        x = np.concatenate([np.linspace(low, high, size // 2), rng.uniform(-1, 1, size - size // 2)]).astype(np.float32)
        x = np.clip(x * (10.0 ** rng.integers(-3, 1, size)), low, high).astype(np.float32)
        spec = fp32_unary.Fp32Unary(Image(1, 1, size), Image(1, 1, size), function)
        expected = fp32_unary.reference(spec, x)
        growth = 3 + x.astype(np.float64) ** 2 if function.startswith("gelu") else 1
        allowed = relative * growth * np.abs(expected.astype(np.float64)) + absolute
        cases.append(tensor_case(fp32_unary, spec, target, [x], expected, allowed))
    for exponent in (2.0, 3.0, 7.0, -1.0, -2.0, 0.5, -0.5, 0.3, 1.7, -2.2):
        x = rng.uniform(0.01, 20, 133).astype(np.float32)
        spec = fp32_unary.Fp32Unary(Image(1, 19, 7), Image(1, 19, 7), "power", exponent)
        expected = fp32_unary.reference(spec, x)
        allowed = np.abs(expected.astype(np.float64)) * (2 + np.abs(exponent * np.log(x))) * 2.5e-7
        cases.append(tensor_case(fp32_unary, spec, target, [x], expected, allowed))
    return cases


def all_cases(rng: np.random.Generator, target: Target, count: int) -> list[TensorCase]:
    """A seeded handful of everything; `count` sets its size."""
    cases = [case for _ in range(count) for case in matmul_cases(rng, target, random_product(rng))]
    for rows, length in ((1, 1), (3, 16), (2, 37), (5, 130))[: count + 1]:
        cases += norm_cases(rng, target, rows, length)
    for shape in ((1, 5, 3), (3, 1, 8), (2, 7, 33))[: count + 1]:
        cases += softmax_cases(rng, target, shape)
    for draw in (elementwise_cases, reduce_cases, gather_cases, rearrange_cases, resize_cases):
        cases += draw(rng, target)
    return cases + unary_cases(rng, target, 515 if count < 5 else 4099)
