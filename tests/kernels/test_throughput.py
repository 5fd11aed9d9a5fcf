"""The tool says where 1-bit layers are not worth it."""

from __future__ import annotations

import re

import pytest

from hwnas.kernels import int8_conv
from hwnas.kernels.codegen import assembly
from hwnas.kernels.image import Image, Window
from hwnas.kernels.target import known_targets, parse_target
from hwnas.kernels.throughput import advice, throughput


@pytest.mark.parametrize(
    ("name", "dot", "words"),
    [("aarch64-i8mm", "usdot", 4), ("aarch64-dotprod", "sdot", 4), ("x86-avx512-vnni", "vpdpbusd", 4)],
)
def test_the_products_counted_are_those_of_the_instruction_that_the_kernel_uses(
    name: str, dot: str, words: int
) -> None:
    """SMMLA would do eight products a lane; no kernel here emits it."""
    target = parse_target(name)
    window = Window((3, 3), (1, 1), (1, 1, 1, 1))
    spec = int8_conv.Int8Conv(Image(8, 8, 32, (1, 1, 1, 1)), Image(8, 8, 32), window)
    text = assembly([int8_conv.build(spec, target).with_attr("global_symbol", "conv")], target)
    assert re.search(rf"\b{dot}\b", text) and not re.search(r"\b[us]+mmla\b", text)
    assert throughput(target).int8 == target.vector_bits // 32 * words


def test_one_bit_does_2_67_times_the_work_of_int8_with_the_dot_product_kernels_of_arm() -> None:
    for name in ("aarch64-i8mm", "aarch64-dotprod"):
        assert throughput(parse_target(name)).binary_over_int8 == pytest.approx(8 / 3)
        assert advice(parse_target(name)) is None


@pytest.mark.parametrize("name", ["x86-avx512-vnni", "x86-avx2", "aarch64-dotprod", "aarch64", "cortex-m4"])
def test_one_bit_is_not_argued_against_where_it_is_far_ahead(name: str) -> None:
    assert advice(parse_target(name)) is None
    assert throughput(parse_target(name)).binary_over_int8 > 2


@pytest.mark.parametrize("name", known_targets()[1:])
def test_fp32_is_never_the_fastest(name: str) -> None:
    found = throughput(parse_target(name))
    assert found.fp32 <= max(found.int8, found.binary)
