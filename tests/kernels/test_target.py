"""Target strings: aliases, LLVM-style text, and what the kernels ask of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hwnas.errors import HwnasError
from hwnas.kernels.target import ALIASES, known_targets, parse_target


@pytest.mark.parametrize("name", known_targets())
def test_every_alias_is_a_target_that_llvm_knows(name: str) -> None:
    target = parse_target(name)
    assert target.vector_bits in (32, 128, 256, 512) and target.max_registers >= 12
    assert target.tvm().kind.name == "llvm"


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_the_features_of_an_alias_are_llvms(name: str) -> None:
    """The table in the code names only what LLVM's own CPU model has."""
    from tvm.target import codegen

    found = {str(feature) for feature in codegen.llvm_get_cpu_features(parse_target(name).tvm())}
    assert parse_target(name).features - {"zvl128b", "v", "i"} <= found | {"simd128", "bulk-memory"}


def test_the_widest_vectors_of_each_family_are_seen() -> None:
    vnni, avx512, avx2, ssse3 = (
        parse_target(name) for name in ("x86-avx512-vnni", "x86-avx512", "x86-avx2", "x86-ssse3")
    )
    assert (vnni.has_vnni, vnni.has_vpopcntdq, vnni.vector_bits, vnni.max_registers) == (True, True, 512, 32)
    assert (avx512.has_vnni, avx512.has_avx512bw, avx512.vector_bits) == (False, True, 512)
    assert (avx2.has_avx2, avx2.has_avx512bw, avx2.vector_bits, avx2.max_registers) == (True, False, 256, 16)
    assert (ssse3.has_ssse3, ssse3.has_avx2, ssse3.vector_bits) == (True, False, 128)
    assert parse_target("aarch64-dotprod").has_dotprod and not parse_target("aarch64").has_dotprod
    assert parse_target("aarch64-i8mm").has_i8mm and parse_target("riscv64-v").has_rvv
    assert parse_target("cortex-m4").vector_bits == 32 and parse_target("cortex-m4").pointer_bits == 32


def test_an_llvm_style_string_is_taken_apart() -> None:
    target = parse_target("x86_64-linux-gnu -mcpu=znver4 -mattr=+avxvnni,-avx512vpopcntdq")
    assert (target.arch, target.cpu, target.triple) == ("x86_64", "znver4", "x86_64-linux-gnu")
    assert target.has("avxvnni") and target.has_vnni and not target.has_vpopcntdq


def test_an_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(HwnasError) as caught:
        parse_target("x86-avx3")
    assert "x86-avx2" in caught.value.nearest
    assert "cortex-m4" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x86_64-linux-gnu -mcpu=zenver9", "no CPU"),
        ("x86_64-linux-gnu -O3", "option"),
        ("x86_64-linux-gnu -mattr=avx2", r"\+ or -"),
        ("sparc-sun-solaris", "unknown target"),
        ("", "unknown target"),
    ],
)
def test_a_malformed_target_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(HwnasError, match=message):
        parse_target(text)


def test_parsing_an_alias_loads_no_compiler() -> None:
    code = (
        "import sys; from hwnas.kernels import target; target.parse_target('cortex-m4'); sys.exit('tvm' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
