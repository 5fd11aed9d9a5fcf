"""The tool says where 1-bit layers are not worth it."""

from __future__ import annotations

import pytest

from hwnas.kernels.target import ALIASES, parse_target
from hwnas.kernels.throughput import advice, throughput


def test_int8_is_advised_where_the_matrix_extension_is_nearly_as_fast() -> None:
    text = advice(parse_target("aarch64-i8mm"))
    assert text is not None and "1.3x" in text and "INT8 is the better choice" in text


@pytest.mark.parametrize("name", ["x86-avx512-vnni", "x86-avx2", "aarch64-dotprod", "aarch64", "cortex-m4"])
def test_one_bit_is_not_argued_against_where_it_is_far_ahead(name: str) -> None:
    assert advice(parse_target(name)) is None
    assert throughput(parse_target(name)).binary_over_int8 > 2


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_fp32_is_never_the_fastest(name: str) -> None:
    found = throughput(parse_target(name))
    assert found.fp32 <= max(found.int8, found.binary)
